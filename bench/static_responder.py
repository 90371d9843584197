"""A server that does nothing: one answer, made beforehand, to any request; what a client then takes is its own cost."""

from __future__ import annotations

import json
import socket
import sys
import threading

ARN = "arn:aws:ivs:us-west-2:123456789012"
CHANNEL = {
    "arn": f"{ARN}:channel/abcdefABCDEF",
    "name": "c1",
    "latencyMode": "LOW",
    "type": "STANDARD",
    "authorized": False,
    "insecureIngest": False,
    "containerFormat": "TS",
    "recordingConfigurationArn": "",
    "playbackRestrictionPolicyArn": "",
    "multitrackInputConfiguration": {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"},
    "preset": "",
    "ingestEndpoint": "0f1e2d3c4b5a.global-contribute.live-video.net",
    "playbackUrl": "https://0f1e2d3c4b5a.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.abcdefABCDEF.m3u8",
    "srt": {"endpoint": "0f1e2d3c4b5a.srt.live-video.net", "passphrase": "x" * 69},
    "tags": {"bench": "yes"},
}
STREAM_KEY = {"arn": f"{ARN}:stream-key/abcdefABCDEF", "value": "x" * 56, "channelArn": CHANNEL["arn"], "tags": {}}
BODY = json.dumps({"channel": CHANNEL, "streamKey": STREAM_KEY}).encode()
# As many fields as the sandbox sends: each costs the client something.
FIELDS = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nx-amzn-RequestId: 00000000-0000-4000-a000-000000000000"
HEAD = f"HTTP/1.1 200 OK\r\n{FIELDS}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


def main(port: int) -> None:
    """Answer for ever."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """Answer each request of a connection; bodies are told by their announced length."""
    with connection, connection.makefile("rb") as stream:
        while line := stream.readline():
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            stream.read(length)
            connection.sendall(HEAD + BODY)


if __name__ == "__main__":
    main(int(sys.argv[1]))
