"""Optional packages: what to install when one is missing or does not work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from reconciler.errors import UsageError


@contextlib.contextmanager
def imports_of(what: str, extra: str) -> Iterator[None]:
    """Import modules that need an optional package; ``what`` needs it, such as ``run``.

    Raises ``UsageError`` with the extra to install for any failure: a package that is missing, incomplete, too old or broken.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("reconciler"):
            raise
        raise UsageError(f"{what} needs the package {error.name}, which is not installed; {_install(extra)}") from None
    except Exception as error:  # a package may fail in any way while it is imported
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{what} cannot load its packages ({type(error).__name__}: {reason}); {_install(extra)}"
        ) from error


def _install(extra: str) -> str:
    return f'install the extra: pip install "ivs-reconciler[{extra}]"'
