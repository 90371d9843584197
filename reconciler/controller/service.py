"""The controller as a process: puts the parts together from what the operator said, holds the state folder, runs the loop until it is told to stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reconciler import logs
from reconciler.aws.connection import connect
from reconciler.controller.config import Options
from reconciler.controller.controller import Controller, Observer, Pace, Settings
from reconciler.controller.reconcile import Teller, Tools
from reconciler.controller.store import Store
from reconciler.controller.webhooks import WEBHOOKS
from reconciler.errors import UsageError
from reconciler.git.git import Remote, Secret, check_remote
from reconciler.git.source import Source

TOKEN_VARIABLE = "IVS_RECONCILER_GIT_TOKEN"  # noqa: S105 - the name of a variable
CONTROL_VARIABLE = "IVS_RECONCILER_CONTROL_TOKEN"

LONGEST_NAP = 1.0
"""Seconds after which the loop looks around even when nothing is due: the command line beside it may have left a wish in the store, and a signal wakes nobody."""

_LOG = logs.get("controller")


def remote_of(options: Options) -> Remote:
    """Return the repository that is meant. Raises ``UsageError`` for one that cannot be followed safely."""
    if not options.url:
        raise UsageError("no repository is named; give one with --repo, or repository.url in the settings file")
    remote = Remote(
        url=options.url,
        branch=options.branch,
        username=options.username,
        token=_secret(options.token_file, TOKEN_VARIABLE, "token for git"),
        ssh_key=options.ssh_key,
        known_hosts=options.known_hosts,
        allowed_signers=options.allowed_signers,
    )
    check_remote(remote)
    return remote


def control_token_of(options: Options) -> Secret:
    """Return the token for requests. Raises ``UsageError`` for a file that cannot be read."""
    token = _secret(options.control_token_file, CONTROL_VARIABLE, "token for requests")
    token.read()
    return token


def webhook_secrets_of(options: Options) -> dict[str, Secret]:
    """Return the webhooks' credentials by forge. Raises ``UsageError`` for a file that cannot be read."""
    secrets = {
        hook.forge: _secret(options.webhook_files.get(hook.forge, ""), hook.variable, hook.what) for hook in WEBHOOKS
    }
    for secret in secrets.values():
        secret.read()
    return secrets


def _secret(file: str, variable: str, what: str) -> Secret:
    return Secret(file=file, value="" if file else os.environ.get(variable, ""), what=what)


def store_in(folder: Path, options: Options) -> Store:
    """Open the state of a folder, for the controller or for the command line beside it. Raises ``UsageError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the state folder {folder} cannot be made ({(error.strerror or 'unknown').lower()}); name another with --state"
        ) from None
    return Store(folder / "controller.db", keep_days=options.keep_days, keep_runs=options.keep_runs)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a state folder alone. Raises ``UsageError`` when another controller does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another controller works in {folder}; stop it, or give this one a folder of its own with --state"
            ) from None
        yield


def controller_of(
    options: Options,
    folder: Path,
    store: Store,
    observer: Observer,
    tools: Tools,
    *,
    config: str | None = None,
    targets: tuple[str, ...] = (),
    draw: Callable[[], float] = random.random,
) -> Controller:
    """Return a controller made of the real parts."""
    pace = Pace(
        options.interval, options.fetch_interval, options.jitter / 100, options.intervals, options.mode, options.modes
    )
    return Controller(
        Source(folder, remote_of(options), options.path, stop=tools.stop),
        store,
        Settings(pace, config, targets, options.at_once),
        tools,
        memory=folder / "targets",
        fetcher=ThreadPoolExecutor(1, thread_name_prefix="fetch"),
        workers=ThreadPoolExecutor(options.at_once, thread_name_prefix="look"),
        observer=observer,
        draw=draw,
    )


def tools_of(stop: threading.Event, store: Store, observer: Observer, *, pages: str = "") -> Tools:
    """Return the real world."""
    return Tools(
        connect=lambda target, on_request: connect(target, on_request=on_request),
        now=time.time,
        sleep=time.sleep,
        monotonic=time.monotonic,
        stop=stop,
        counted=observer.counted,
        tell=Teller(store, os.environ, observer.told, now=time.time, sleep=time.sleep, pages=pages),
    )


def run_until_stopped(
    controller: Controller, stop: threading.Event, *, until: Callable[[], bool] = lambda: False
) -> None:
    """Step until somebody wants to stop or ``until`` is true; then let calls in flight finish."""
    while not stop.is_set() and not until():
        wait = controller.step() - time.time()
        if not until():
            controller.wake.wait(max(0.01, min(wait, LONGEST_NAP)))
            controller.wake.clear()
    _LOG.info("stopping", reason="asked to" if stop.is_set() else "done")
    controller.finish()
