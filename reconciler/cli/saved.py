"""Saved plans: reading one, and seeing to it that it is applied once."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from reconciler.errors import StalePlan, UsageError
from reconciler.plan.actions import Plan
from reconciler.plan.codec import fingerprint, from_json


def load_plan(path: Path) -> Plan:
    """Read a saved plan. Raises ``UsageError`` where the file is missing, is no plan, or was changed by hand."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be read').lower()}; name a file that plan --out saved") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: not a saved plan (it is not JSON); make one with plan --out FILE") from None
    return from_json(content)


def claim(path: Path, plan: Plan) -> None:
    """Mark a saved plan as applied, before its first call. Raises ``StalePlan`` when that was done before.

    The mark is a file beside the plan, made so that only one of two processes can make it.
    It is a convenience: an apply also compares live state with what the plan saw, which refuses a second run wherever the file went.
    """
    mark = path.with_name(path.name + ".applied")
    content = {"fingerprints": [fingerprint(target) for target in plan.targets], "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    try:
        handle = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        if _belongs(mark, content["fingerprints"]):
            raise StalePlan(f"{path}: this plan was applied before ({mark.name} says when); a plan can be applied once, so plan again") from None
        with contextlib.suppress(OSError):
            mark.write_text(json.dumps(content), encoding="utf-8")
        return
    except OSError:
        return  # A folder that cannot be written holds no mark; live state still tells.
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(content, stream)


def _belongs(mark: Path, fingerprints: object) -> bool:
    """Whether a mark is of this very plan, and not of an older one saved under the same name."""
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return isinstance(content, dict) and content.get("fingerprints") == fingerprints
