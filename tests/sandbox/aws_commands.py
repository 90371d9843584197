"""Every `aws ivs` command once, in one process; prints each as `operation status` (run by test_real_clients)."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from awscli.botocore import xform_name  # type: ignore[import-untyped]
from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4IPwqoEWo1NdfNGF6kD9ETwf4dUSCq84
XvDt32MxWHNSfHkLOXt8Qz/nxosQwafrHhrUlJ/wi65ThXSAw7aOomQ2TOv0O/hn
OSeMfgong9BpLinI9olwzhmSxyO97nfR
-----END PUBLIC KEY-----
"""
DRIVER = create_clidriver()
# The command line brings a service model of its own, which may be older than boto3's.
KNOWN = {xform_name(name, "-") for name in DRIVER.session.get_service_model("ivs").operation_names}
DONE: set[str] = set()
ENDPOINT = sys.argv[1]


def aws(command: str, *arguments: str) -> Any:
    """Run one command; its JSON answer, or its failure on stdout."""
    if command not in KNOWN:
        return {}
    DONE.add(command)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = DRIVER.main(["--endpoint-url", ENDPOINT, "--output", "json", "ivs", command, *arguments])
        except SystemExit as stop:
            code = stop.code
    sys.stdout.write(f"{command} {code}{' ' + err.getvalue().strip() if code else ''}\n")
    return json.loads(out.getvalue() or "{}")


def control(name: str, **arguments: Any) -> None:
    """Ask the sandbox for what AWS clients cannot do."""
    import urllib.request

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['IVS_SANDBOX_TOKEN']}"}
    request = urllib.request.Request(f"{ENDPOINT}/_sandbox/{name}", json.dumps(arguments).encode(), headers)
    urllib.request.urlopen(request, timeout=60).close()


def main() -> None:
    """Make, use and remove one of everything."""
    media = "playbackConfigurationArn=arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"
    record = aws(
        "create-recording-configuration", "--name", "archive", "--destination-configuration", "s3={bucketName=vod}"
    )["recordingConfiguration"]["arn"]
    slate = (
        aws("create-failover-slate-configuration", "--name", "slate")
        .get("failoverSlateConfiguration", {})
        .get("arn", "")
    )
    ads = aws("create-ad-configuration", "--media-tailor-playback-configurations", media)["adConfiguration"]["arn"]
    policy = aws("create-playback-restriction-policy", "--allowed-countries", "DE", "FR")["playbackRestrictionPolicy"][
        "arn"
    ]
    pair = aws("import-playback-key-pair", "--public-key-material", PUBLIC_KEY)["keyPair"]["arn"]
    control("advance", seconds=10)
    made = aws(
        "create-channel",
        "--name",
        "stage",
        "--tags",
        "team=video",
        "--recording-configuration-arn",
        record,
        "--ad-configuration-arn",
        ads,
    )
    arn, key = made["channel"]["arn"], made["streamKey"]["arn"]
    aws("update-channel", "--arn", arn, "--latency-mode", "NORMAL")
    aws("get-channel", "--arn", arn)
    aws("batch-get-channel", "--arns", arn)
    aws("list-channels")
    aws("get-stream-key", "--arn", key)
    aws("batch-get-stream-key", "--arns", key)
    aws("list-stream-keys", "--channel-arn", arn)
    aws("delete-stream-key", "--arn", key)
    aws("create-stream-key", "--channel-arn", arn)
    aws("tag-resource", "--resource-arn", arn, "--tags", '{"a b": "c+d"}')
    aws("list-tags-for-resource", "--resource-arn", arn)
    aws("untag-resource", "--resource-arn", arn, "--tag-keys", "a b", "team")
    control("go_live", arn=arn)
    aws("get-stream", "--channel-arn", arn)
    aws("list-streams", "--filter-by", "health=HEALTHY")
    aws("put-metadata", "--channel-arn", arn, "--metadata", "text")
    aws("insert-ad-break", "--channel-arn", arn, "--duration-seconds", "30")
    aws("get-stream-session", "--channel-arn", arn)
    aws("list-stream-sessions", "--channel-arn", arn)
    aws("start-viewer-session-revocation", "--channel-arn", arn, "--viewer-id", "v")
    aws("batch-start-viewer-session-revocation", "--viewer-sessions", f"channelArn={arn},viewerId=v")
    aws("stop-stream", "--channel-arn", arn)
    control("advance", seconds=10)
    aws("delete-channel", "--arn", arn)
    for name, target in (
        ("recording-configuration", record),
        ("failover-slate-configuration", slate),
        ("ad-configuration", ads),
        ("playback-restriction-policy", policy),
        ("playback-key-pair", pair),
    ):
        aws(f"get-{name}", "--arn", target)
        aws("list-playback-restriction-policies" if name.endswith("policy") else f"list-{name}s")
        if name in ("failover-slate-configuration", "ad-configuration", "playback-restriction-policy"):
            aws(f"update-{name}", "--arn", target, "--name", "renamed")
            control("advance", seconds=10)
        aws(f"delete-{name}", "--arn", target)
    sys.stdout.writelines(f"{command} was left out\n" for command in sorted(KNOWN - DONE))


if __name__ == "__main__":
    main()
