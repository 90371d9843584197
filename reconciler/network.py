"""What all clients (AWS, forges, webhooks, git) share: the CA certificates they trust, loopback without a proxy, why a connection failed."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from reconciler.errors import UsageError

with contextlib.suppress(ImportError):  # Windows has none
    import resource  # Not where it is used: without a free file descriptor nothing can be imported.

CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The variables that name a file of CA certificates, the first that is set first."""

_LOOPBACK = "localhost,127.0.0.1,::1,[::1]"
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3} ?[A-Za-z -]*)")
_OPENSSL = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")
"""What OpenSSL puts around its text: its constant, and the line of Python's source."""


def ca_bundle() -> str | None:
    """Return the file of CA certificates that the environment sets for every client, or ``None`` for each client's own.

    Raises ``UsageError`` for a file that cannot be read.
    """
    for variable in CA_VARIABLES:
        path = os.environ.get(variable, "")
        if not path or Path(path).is_dir():
            continue
        if not os.access(path, os.R_OK):
            raise UsageError(f"{variable} names {path}, which cannot be read; correct it, or unset it")
        return path
    return None


def has_endpoint(variable: str) -> bool:
    """Return whether the environment sets the endpoint of a service, by its variable or that of all services."""
    return bool(os.environ.get(variable) or os.environ.get("AWS_ENDPOINT_URL"))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def bypass_proxies_for_loopback(environment: MutableMapping[str, str]) -> None:
    """Add this machine to ``no_proxy``, which every client reads: the loopback of a proxy is another machine."""
    known = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    # "*" is every host, which clients understand only by itself.
    known = "*" if known.strip() == "*" else f"{known},{_LOOPBACK}" if known else _LOOPBACK
    environment["no_proxy"] = environment["NO_PROXY"] = known


def proxy_refusal(error: BaseException) -> str:
    """Return the status with which a proxy refused to connect, such as ``407 Proxy Authentication Required``; empty if it did not."""
    for one in _causes(error):
        if found := _TUNNEL.search(str(one)):
            return found[1].strip()
    return ""


def why_unreachable(error: BaseException) -> str:
    """Return why a connection failed: the proxy's refusal, or the system's error text; neither contains a URL."""
    if refusal := proxy_refusal(error):
        return f"the proxy refused the connection: {refusal}"
    for one in _causes(error):
        if isinstance(one, OSError) and one.strerror:
            return _OPENSSL.sub("", one.strerror).lower()
    return type(error).__name__


def is_out_of_descriptors(error: BaseException) -> bool:
    """Return whether a call failed because this process, or this machine, has too many open files and connections."""
    return any(isinstance(one, OSError) and one.errno in (errno.EMFILE, errno.ENFILE) for one in _causes(error))


def descriptors() -> int:
    """Return how many files and connections this process may have open."""
    if "resource" not in globals():
        return 8192
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def out_of_descriptors() -> str:
    """Return the message for it."""
    return f"too many open files (the limit is {descriptors():,}); raise it with ulimit -n, or lower --targets-at-once"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; urllib3 and requests also keep the cause among their arguments."""
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (
            one.__cause__,
            one.__context__,
            *one.args,
            getattr(one, "reason", None),
            getattr(one, "original_error", None),
            getattr(one, "cause", None),
        )
        pending += [item for item in inner if isinstance(item, BaseException)]
