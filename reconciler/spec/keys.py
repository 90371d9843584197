"""Reads what a spec says of keys: the public key of a playback key pair and its overlap, the rotation label and the sink of a stream key.

IVS accepts an ECDSA P-384 public key as PEM ``SubjectPublicKeyInfo`` (user guide, "Create or import a playback key").
Other keys are refused with a command that converts them; no message contains text of a key.
The DER of such a key is 120 bytes with a fixed header, so the standard library is enough to parse it.

The name of a sink may contain placeholders. Its pattern is that of Secrets Manager or Parameter Store;
its length is limited because it is also written as a tag value of at most 256 characters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.model.address import DELIVERED, MAX_SPEC_TAGS, MAX_TAGS, ROTATION, SPEC
from reconciler.model.resource import DesiredResource, digest_of
from reconciler.model.target import Sink, SinkValue, Store, seconds_of
from reconciler.spec.files import Unreadable, read_inside
from reconciler.spec.problems import Fault, KeyPath, Problems, quote
from reconciler.spec.resources import Entry
from reconciler.spec.rules import tag_count_fault
from reconciler.spec.templates import SAMPLE, fill
from reconciler.spec.yaml import LFS_HINT, LFS_POINTER, LFS_PROBLEM

_HEADER = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
"""DER header before the two coordinates of an uncompressed P-384 point."""

_COMPRESSED = bytes.fromhex("3046301006072a8648ce3d020106052b81040022033200")
_PRIME_FIELD = bytes.fromhex("2a8648ce3d0101")
"""Object identifier of a prime field, which occurs only in explicit curve parameters."""

_SIZE = 48
_PRIME = 2**384 - 2**128 - 2**96 + 2**32 - 1
_CURVE_B = 0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)

_OTHER_KEYS = (
    (bytes.fromhex("2a864886f70d0101"), "an RSA key"),
    (bytes.fromhex("2a8648ce3d030107"), "a key on the curve P-256"),
    (bytes.fromhex("2b81040023"), "a key on the curve P-521"),
    (bytes.fromhex("2b8104000a"), "a key on the curve secp256k1"),
    (bytes.fromhex("2b6570"), "an Ed25519 key"),
)

_CREATE_HINT = "create one with: openssl ecparam -name secp384r1 -genkey -noout -out private.pem && openssl ec -in private.pem -pubout -out public.pem"
_EXTRACT_HINT = "use the public key instead (openssl ec -in private.pem -pubout); if the private key was ever committed, treat it as compromised"


class PublicKey(NamedTuple):
    """A public key: normalised ``pem``, and ``fingerprint`` in the form of IVS: MD5 of the DER, 16 hex octets joined by colons."""

    pem: str
    fingerprint: str


class BadKey(Exception):
    """The text is not a key that IVS accepts; ``fault`` says why, without text of the key."""

    def __init__(self, what: str, hint: str) -> None:
        self.fault = Fault((), what, hint)
        super().__init__(what)


def read_public_key(text: str) -> PublicKey:
    """Return the key in one PEM block, with any spaces, blank lines and line ends. Raises ``BadKey``."""
    if "PRIVATE KEY" in text:
        raise BadKey("this is a private key", _EXTRACT_HINT)
    blocks = _BLOCK.findall(text)
    if len(blocks) != 1:
        raise _not_one_block(text, len(blocks))
    label, body = blocks[0]
    if label != "PUBLIC KEY":
        raise _wrong_label(label)
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error:
        raise BadKey("the text between the BEGIN and END lines is not base64", "copy the whole file again") from None
    _check(der)
    return PublicKey(_to_pem(der), _fingerprint(der))


def _check(der: bytes) -> None:
    if der.startswith(_COMPRESSED):
        raise BadKey(
            "this P-384 key has a compressed point, which IVS does not accept",
            "convert it: openssl ec -pubin -in public.pem -pubout -conv_form uncompressed",
        )
    if not der.startswith(_HEADER):
        if _PRIME_FIELD in der[:40]:
            raise BadKey(
                "this key has explicit curve parameters instead of a named curve",
                "convert it: openssl ec -pubin -in public.pem -pubout -param_enc named_curve",
            )
        for identifier, name in _OTHER_KEYS:
            if identifier in der[:40]:
                raise BadKey(f"this is {name}; IVS accepts only ECDSA P-384", _CREATE_HINT)
        raise BadKey("this is not an ECDSA P-384 public key", _CREATE_HINT)
    point = der[len(_HEADER) :]
    if len(point) != 2 * _SIZE:
        raise BadKey("this P-384 public key is truncated or has trailing data", "copy the whole file again")
    x, y = int.from_bytes(point[:_SIZE], "big"), int.from_bytes(point[_SIZE:], "big")
    if x >= _PRIME or y >= _PRIME or (y * y - (x * x * x - 3 * x + _CURVE_B)) % _PRIME:
        raise BadKey("this P-384 public key is corrupt: its point is not on the curve", "copy the whole file again")


def _not_one_block(text: str, count: int) -> BadKey:
    if count > 1:
        return BadKey(f"found {count} PEM blocks", "keep only the one that starts with -----BEGIN PUBLIC KEY-----")
    if text.startswith(LFS_POINTER):
        return BadKey(LFS_PROBLEM, LFS_HINT)
    if re.match(r"\s*(ssh-|ecdsa-sha2-)", text) or "SSH2" in text:
        return BadKey("this is a key in SSH format", _CREATE_HINT)
    if "-----BEGIN" in text:
        return BadKey(
            "the PEM text is truncated: its END line is missing or does not match", "copy the whole file again"
        )
    return BadKey("this is not PEM text", f"it must start with -----BEGIN PUBLIC KEY-----; {_CREATE_HINT}")


def _wrong_label(label: str) -> BadKey:
    if "CERTIFICATE" in label:
        return BadKey(
            "this is a certificate", "extract its public key: openssl x509 -in certificate.pem -pubkey -noout"
        )
    if label == "RSA PUBLIC KEY":
        return BadKey("this is an RSA key; IVS accepts only ECDSA P-384", _CREATE_HINT)
    return BadKey(
        "this PEM block is not a public key", f"it must start with -----BEGIN PUBLIC KEY-----; {_CREATE_HINT}"
    )


def _to_pem(der: bytes) -> str:
    body = base64.b64encode(der).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _fingerprint(der: bytes) -> str:
    """Return the fingerprint that IVS shows for a key. It identifies the key and protects nothing, so MD5 is fine."""
    digest = hashlib.md5(der, usedforsecurity=False).hexdigest()
    return ":".join(digest[start : start + 2] for start in range(0, len(digest), 2))


_FIELD = "publicKeyMaterial"
_MAX_PEM_BYTES = 65_536
"""Maximum size of a key file in bytes; the PEM of a P-384 key has 215."""


def read_key_pair(root: str, entry: Entry, problems: Problems) -> PublicKey | None:
    """Return the public key of a key pair, or ``None``; problems are added to ``problems``."""
    material = entry.body.get(_FIELD)
    if material is None:
        return None
    path: KeyPath = (_FIELD,)
    of = _FIELD
    try:
        if isinstance(material, dict):
            name = material["file"]
            path, of = (_FIELD, "file"), f"{_FIELD}.file {quote(name)}"
            return read_public_key(_read_text(root, name))
        return read_public_key(material)
    except BadKey as error:
        fault = error.fault
        entry.note(problems, Fault(path, f"{of}: {fault.what}", fault.hint))
    except Unreadable as error:
        entry.note(problems, Fault(path, f"{of} {error.what}", error.hint))
    return None


def _read_text(root: str, name: str) -> str:
    if name.startswith(("/", "~")) or ".." in name.split("/"):
        raise Unreadable("is outside the project", "use a path below the directory of the project file")
    try:
        return read_inside(root, name, max_bytes=_MAX_PEM_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(
            "is not a text file", "convert it to PEM: openssl ec -pubin -inform DER -in key.der -pubout"
        ) from None


_MAX_SINK_NAME = 240
_MAX_OVERLAP_DAYS = 9_999
"""Maximum of the pattern of ``overlap``."""

_SECRET = re.compile(r"[A-Za-z0-9/_+=.@-]+")
_PARAMETER = re.compile(r"/?[A-Za-z0-9_.-]+|(/[A-Za-z0-9_.-]+)+")
_SECRET_ARN = re.compile(r"arn:aws:secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+")


def sink_of(raw: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Sink | None, list[Fault]]:
    """Return the sink of a ``sink`` block and its faults, with paths relative to the block."""
    given = [store for store in (Store.SECRETS_MANAGER, Store.PARAMETER_STORE) if raw.get(store.value) is not None]
    if len(given) != 1:
        return None, [
            Fault((), "sink must have exactly one of secretsManager and parameterStore", "set one of the two")
        ]
    store = given[0]
    body: Mapping[str, Any] = raw[store.value]
    name, arn = body.get("name"), body.get("arn")
    if (name is None) == (arn is None):
        if store is Store.PARAMETER_STORE:
            return None, [Fault((store.value,), "parameterStore requires name", "set name")]
        return None, [
            Fault((store.value,), "secretsManager must have exactly one of name and arn", "set one of the two")
        ]
    field = "name" if arn is None else "arn"
    text, unknown = fill(str(body[field]), names)
    sink = Sink(store, text, str(body.get("kmsKeyId") or ""), SinkValue(raw.get("value") or SinkValue.KEY))
    found = [unknown] if unknown else _name_faults(sink, names, is_arn=arn is not None)
    return sink, [fault.below((store.value, field)) for fault in found]


def _name_faults(sink: Sink, names: Mapping[str, str], *, is_arn: bool) -> Iterator[Fault]:
    store, name = sink.store, sink.name
    limit = _MAX_SINK_NAME - len(".json") if sink.value is SinkValue.JSON else _MAX_SINK_NAME
    if len(name) > limit:
        yield Fault((), f"{quote(name)} has {len(name)} characters, more than the limit of {limit}", "shorten it")
    elif is_arn:
        found = _SECRET_ARN.fullmatch(name)
        if found is None:
            yield Fault(
                (),
                f"{quote(name)} is not a secret ARN",
                "write arn:aws:secretsmanager:<region>:<account>:secret:<name>",
            )
        elif found[1] != names["region"] and names is not SAMPLE:
            yield Fault(
                (),
                f"{quote(name)} is in {found[1]}, but the target is in {names['region']}",
                "use a secret in the same region",
            )
    elif store is Store.SECRETS_MANAGER and not _SECRET.fullmatch(name):
        yield Fault((), f"{quote(name)} is not a valid secret name", "use letters, digits and / _ + = . @ -")
    elif store is Store.PARAMETER_STORE and (
        not _PARAMETER.fullmatch(name) or name.lower().lstrip("/").startswith(("aws", "ssm"))
    ):
        yield Fault(
            (),
            f"{quote(name)} is not a valid parameter name",
            "use letters, digits, _ . and -, with / before each level; do not start with aws or ssm",
        )


def read_stream_key_options(
    entry: Entry, defaults: Mapping[str, Any], names: Mapping[str, str], problems: Problems
) -> tuple[str, Sink | None]:
    """Return the rotation label and the sink of a channel's stream key, defaults merged; ``null`` removes a default."""
    own: Mapping[str, Any] = entry.body["streamKey"]
    merged = {**defaults, **own}
    raw = merged.get("sink")
    sink = None
    if raw is not None:
        sink, faults = sink_of(raw, names)
        for fault in faults:
            entry.note(problems, fault.below(("streamKey", "sink") if "sink" in own else ("streamKey",)))
    return str(merged.get("rotation") or ""), sink


def overlap_of(entry: Entry) -> int:
    """Return how many seconds a replaced key pair is kept; 0 without ``rotation``."""
    text = str((entry.body.get("rotation") or {}).get("overlap") or "")
    return seconds_of(text, days=_MAX_OVERLAP_DAYS) if text else 0


def with_options(
    key: DesiredResource, label: str, sink: Sink | None, entry: Entry, user_tags: int, problems: Problems
) -> DesiredResource:
    """Return a stream key with its label and sink as tags and in its digest, to be compared with the tags of the live key."""
    options = {**({ROTATION: label} if label else {}), **({DELIVERED: sink.mark} if sink else {})}
    if too_many := tag_count_fault(user_tags, kept=MAX_TAGS - MAX_SPEC_TAGS + len(options)):
        entry.note(problems, too_many.below(("streamKey",)))
    digest = digest_of({"digest": key.digest, **options})
    return key._replace(tags={**key.tags, SPEC: digest, **options}, digest=digest, sink=sink)
