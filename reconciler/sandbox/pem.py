"""Public keys: is this PEM an ECDSA P-384 key, and what is its fingerprint.

Accepted is a SubjectPublicKeyInfo PEM of curve secp384r1 with an uncompressed point (user guide:
private channels). The fingerprint is the MD5 of the DER bytes: AWS documents no algorithm, but live
tests of others assert exactly this one. No text here ever repeats any of the material.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----\s*")
# SEQUENCE { SEQUENCE { id-ecPublicKey, secp384r1 }, BIT STRING { 0 unused bits, 04 uncompressed
_HEADER = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
_LENGTH = 120
_PRIME = 2**384 - 2**128 - 2**96 + 2**32 - 1
_B = int(
    "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    16,
)


class BadKeyError(Exception):
    """Not an acceptable public key; the text says what is wrong, never what was given."""


def fingerprint(pem: str) -> str:
    """Return the fingerprint of a public key: 16 lower-case octets joined by colons."""
    digest = hashlib.md5(der(pem), usedforsecurity=False).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))


def der(pem: str) -> bytes:
    """Return the DER bytes of an acceptable key; any white space and CRLF are fine (assumed)."""
    if "PRIVATE KEY" in pem:
        raise BadKeyError("a private key was given; only the public key may be imported")
    found = _PEM.fullmatch(pem)
    if found is None:
        raise BadKeyError("not a PEM encoded public key")
    try:
        data = base64.b64decode("".join(found.group(1).split()), validate=True)
    except binascii.Error:
        raise BadKeyError("not a PEM encoded public key") from None
    if not data.startswith(_HEADER) or len(data) != _LENGTH:
        raise BadKeyError("not an ECDSA public key on curve P-384")
    x = int.from_bytes(data[24:72], "big")
    y = int.from_bytes(data[72:], "big")
    on_curve = (y * y - (x * x * x - 3 * x + _B)) % _PRIME == 0
    if not on_curve or x >= _PRIME or y >= _PRIME:
        raise BadKeyError("not a point on curve P-384")
    return data
