"""What many targets cost a plan: CPU a target over HTTP and TLS with 80 ms a call, memory, and that few descriptors are enough."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from botocore.httpsession import get_cert_path

from bench.measure import as_installed, run, table
from bench.server import served

SIZES = (50, 300, 1_000)
ACCOUNTS, CHANNELS, DESCRIPTORS = 200, 5, 256
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1")
GOALS = {"http": "28", "tls": "40"}


def main() -> None:
    as_installed()
    rows = [("targets", "", "CPU ms a target", "goal at 1,000", "peak memory MB", "wall s")]
    with tempfile.TemporaryDirectory() as name, served("--limit", "channels=200000") as server:
        folder = Path(name)
        port = int(server.url.rpartition(":")[2])
        with tls_front(port, folder) as tls:
            for size in SIZES:
                for sort, url in (("http", server.url), ("tls", tls)):
                    stack = write_fleet(folder / f"{size}-{sort}", size, url)
                    environment = environment_of(folder, stack)
                    if sort == "http":
                        server.control("clear_faults")
                        run(limited("apply", "--auto-approve"), folder=stack, environment=environment)
                        server.control("add_fault", effect="delay", operation="*", seconds=0.08, times=None)
                    cost = run(limited("plan", "--detailed-exitcode"), folder=stack, environment=environment)
                    each = f"{1000 * cost.cpu / size:.1f}"
                    rows.append((f"{size:,}", sort, each, GOALS[sort], f"{cost.rss:.0f}", f"{cost.wall:.1f}"))
    print(table(f"In-sync plan of targets with {CHANNELS} channels each, under ulimit -n {DESCRIPTORS}", rows))


def limited(*words: str) -> list[str]:
    """Return a command of ours under a limit of descriptors."""
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    return ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', tool, *words]


def write_fleet(folder: Path, size: int, url: str) -> Path:
    """Write a project of so many targets in 200 accounts; returns its folder."""
    (folder / "specs").mkdir(parents=True)
    targets = {
        f"t{n:04}": {
            "region": REGIONS[n // ACCOUNTS],
            "accountId": str(account := 200_000_000_000 + n % ACCOUNTS),
            "profile": f"p{account}",
            "endpointUrl": url,
        }
        for n in range(size)
    }
    (folder / "ivs-reconciler.yaml").write_text(json.dumps({"stack": "bench", "targets": targets}), encoding="utf-8")
    channels: dict[str, object] = {f"channel-{n}": {} for n in range(CHANNELS)}
    (folder / "specs" / "live.yaml").write_text(json.dumps({"channels": channels}), encoding="utf-8")
    keys = (
        f"[p{200_000_000_000 + n}]\naws_access_key_id={200_000_000_000 + n}\naws_secret_access_key=any\n"
        for n in range(ACCOUNTS)
    )
    (folder / "credentials").write_text("".join(keys), encoding="utf-8")
    return folder


def environment_of(folder: Path, stack: Path) -> dict[str, str]:
    """Return the environment of a fleet: its keys, and a bundle of all public certificates and the server's."""
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(stack / "credentials"),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CA_BUNDLE": str(folder / "bundle.pem"),
        "NO_COLOR": "1",
    }


@contextmanager
def tls_front(port: int, folder: Path) -> Iterator[str]:
    """Serve TLS in front of a port, in a process of its own, with a certificate in ``bundle.pem``; yields the URL."""
    certificate = folder / "certificate.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key.pem"))
    request = ["openssl", "req", "-x509", *key, *subject, "-days", "2", "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    public = Path(str(get_cert_path(True)))
    (folder / "bundle.pem").write_bytes(public.read_bytes() + certificate.read_bytes())
    command = [sys.executable, "-m", "bench.fleet_bench", str(port), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"https://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


async def front(port: int, folder: Path) -> None:
    """Pass every TLS connection on to a port; prints the port it listens on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, outer), copy(inner, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(front(int(sys.argv[1]), Path(sys.argv[2])))
