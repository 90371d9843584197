"""TLS in front of the embedded server, in a process of its own: AWS speaks TLS, and the server speaks HTTP."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from botocore.httpsession import get_cert_path


@contextmanager
def tls_front(url: str, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve TLS in front of a server; yields the URL, and the environment in which its certificate is trusted beside all public ones.

    Fronts with one folder share a certificate.
    """
    certificate, bundle = folder / "certificate.pem", folder / "bundle.pem"
    if not bundle.exists():
        certify(folder, certificate, bundle)
    command = [sys.executable, "-m", "bench.tls", url.rpartition(":")[2], str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"https://127.0.0.1:{int(process.stdout.readline())}", {"AWS_CA_BUNDLE": str(bundle)}
        finally:
            process.terminate()


@contextmanager
def both_ways(url: str, folder: Path) -> Iterator[dict[str, tuple[str, dict[str, str]]]]:
    """Serve TLS in front of a server; yields, for HTTP and TLS, its URL and the environment in which it is trusted."""
    with tls_front(url, folder) as secure:
        yield {"http": (url, {}), "tls": secure}


@contextmanager
def trusted_front(url: str, folder: Path) -> Iterator[str]:
    """Serve TLS in front of a server; yields the URL, which this process and its children trust meanwhile."""
    with tls_front(url, folder) as (secure, trusted):
        os.environ.update(trusted)
        try:
            yield secure
        finally:
            for name in trusted:
                os.environ.pop(name, None)


def certify(folder: Path, certificate: Path, bundle: Path) -> None:
    """Write a key, a certificate for it, and that among all public ones."""
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key.pem"))
    request = ["openssl", "req", "-x509", *key, *subject, "-days", "2", "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    public = Path(str(get_cert_path(True)))
    bundle.write_bytes(public.read_bytes() + certificate.read_bytes())


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
