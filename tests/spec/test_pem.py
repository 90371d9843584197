"""Public keys: what IVS takes, and what is said about everything else."""

from __future__ import annotations

import base64

import pytest

from reconciler.spec.keys import BadKey, read_public_key
from tests.spec.support import KEYS, PRIVATE_KEY

GOOD = (KEYS / "good.pem").read_text()
KNOWN = """\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4IPwqoEWo1NdfNGF6kD9ETwf4dUSCq84
XvDt32MxWHNSfHkLOXt8Qz/nxosQwafrHhrUlJ/wi65ThXSAw7aOomQ2TOv0O/hn
OSeMfgong9BpLinI9olwzhmSxyO97nfR
-----END PUBLIC KEY-----
"""
BODY = "".join(GOOD.splitlines()[1:-1])


def pem(der: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"


def refused(text: str) -> str:
    with pytest.raises(BadKey) as caught:
        read_public_key(text)
    assert caught.value.fault.hint
    return caught.value.fault.what


def test_the_fingerprint_is_the_md5_of_the_der() -> None:
    assert read_public_key(KNOWN).fingerprint == "7e:1d:7a:32:61:51:a5:7b:18:39:2e:44:d5:ff:4f:9d"
    assert read_public_key(KNOWN).pem == KNOWN
    assert read_public_key(GOOD).fingerprint == "62:a3:32:b2:2d:73:db:9e:f9:ac:63:69:5e:8a:3d:aa"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.strip(),
        f"\n\n  {GOOD}\n \n",
        GOOD.replace("\n", "\n\n"),
        f"-----BEGIN PUBLIC KEY-----{BODY}-----END PUBLIC KEY-----",
        "".join(f"    {line}\n" for line in GOOD.splitlines()),
        f"made by somebody\n{GOOD}",
    ],
)
def test_white_space_does_not_matter(text: str) -> None:
    assert read_public_key(text) == read_public_key(GOOD)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("rsa", "this is an RSA key; IVS accepts only ECDSA P-384"),
        ("rsa1", "this is an RSA key; IVS accepts only ECDSA P-384"),
        ("p256", "this is a key on the curve P-256; IVS accepts only ECDSA P-384"),
        ("p521", "this is a key on the curve P-521; IVS accepts only ECDSA P-384"),
        ("ed", "this is an Ed25519 key; IVS accepts only ECDSA P-384"),
        ("compressed", "this P-384 key has a compressed point, which IVS does not accept"),
        ("explicit", "this key has explicit curve parameters instead of a named curve"),
        ("cert", "this is a certificate"),
    ],
)
def test_other_keys_are_named(name: str, what: str) -> None:
    assert refused((KEYS / f"{name}.pem").read_text()) == what


DER = base64.b64decode(BODY)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "this is not PEM text"),
        ("hello", "this is not PEM text"),
        (BODY, "this is not PEM text"),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 215\n",
            "this is a Git LFS pointer, not the file itself",
        ),
        ("ssh-ed25519 AAAA x@y", "this is a key in SSH format"),
        ("ecdsa-sha2-nistp384 AAAA x@y", "this is a key in SSH format"),
        (
            GOOD.replace("-----END PUBLIC KEY-----", ""),
            "the PEM text is truncated: its END line is missing or does not match",
        ),
        (GOOD + KNOWN, "found 2 PEM blocks"),
        (GOOD.replace("PUBLIC KEY", "EC PARAMETERS"), "this PEM block is not a public key"),
        (GOOD.replace("E", "*"), "this is not PEM text"),
        (pem(DER).replace("MHYw", "M?Yw"), "the text between the BEGIN and END lines is not base64"),
        (pem(b""), "this is not an ECDSA P-384 public key"),
        (pem(b"\x30\x03\x02\x01\x00"), "this is not an ECDSA P-384 public key"),
        (pem(DER[:-1]), "this P-384 public key is truncated or has trailing data"),
        (pem(DER + b"\x00"), "this P-384 public key is truncated or has trailing data"),
        (pem(DER[:-1] + bytes([DER[-1] ^ 1])), "this P-384 public key is corrupt: its point is not on the curve"),
        (pem(DER[:24] + b"\xff" * 96), "this P-384 public key is corrupt: its point is not on the curve"),
    ],
)
def test_damaged_keys_and_other_texts_are_refused(text: str, what: str) -> None:
    assert refused(text) == what


@pytest.mark.parametrize(
    "kind", ["EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"]
)
def test_a_private_key_is_refused_by_name_and_held_nowhere(kind: str) -> None:
    with pytest.raises(BadKey) as caught:
        read_public_key(GOOD + PRIVATE_KEY.replace("EC PRIVATE KEY", kind))
    assert caught.value.fault.what == "this is a private key"
    assert "CANARY" not in repr(caught.value) + str(caught.value) + repr(caught.value.fault)
