"""The public key of a key pair: from the spec itself, or from the file it names. Public halves only; no text of a key goes into a message."""

from __future__ import annotations

from reconciler.spec.entries import Entry
from reconciler.spec.files import Unreadable, read_inside
from reconciler.spec.pem import BadKey, PublicKey, read_public_key
from reconciler.spec.problems import Fault, KeyPath, Problems, shown

_FIELD = "publicKeyMaterial"
_LARGEST = 65_536
"""Bytes; the PEM of a P-384 key has 215."""


def key_pair(root: str, entry: Entry, problems: Problems) -> PublicKey | None:
    """Return the key of a key pair; what is wrong with it goes into ``problems``."""
    material = entry.body.get(_FIELD)
    if material is None:
        return None
    path: KeyPath = (_FIELD,)
    of = _FIELD
    try:
        if isinstance(material, dict):
            name = material["file"]
            path, of = (_FIELD, "file"), f"{_FIELD}.file {shown(name)}"
            return read_public_key(_text(root, name))
        return read_public_key(material)
    except BadKey as error:
        fault = error.fault
        entry.note(problems, Fault(path, f"{of}: {fault.what}", fault.hint))
    except Unreadable as error:
        entry.note(problems, Fault(path, f"{of} {error.what}", error.hint))
    return None


def _text(root: str, name: str) -> str:
    if name.startswith(("/", "~")) or ".." in name.split("/"):
        raise Unreadable("leads out of the project", "write a path below the folder of the project file")
    try:
        return read_inside(root, name, most=_LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(
            "is not text", "convert it to PEM: openssl ec -pubin -inform DER -in key.der -pubout"
        ) from None
