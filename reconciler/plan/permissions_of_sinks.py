"""What writing to secrets and parameters takes, as statements of an IAM policy.

Facts, from AWS's service authorization reference and the guides of both services: the ARN of a secret ends with six characters that AWS chooses;
a secret or parameter that is encrypted with a key of one's own takes permissions on that key too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reconciler.model.sink import Sink, Store

_MOST_NAMES = 8
"""Names that are listed one by one; more are allowed by what they begin with, since a policy is short."""

At = tuple[str, str, Sink]
"""A region, an account and a sink there."""


def handing_over_to(found: Sequence[At]) -> Iterator[dict[str, object]]:
    """Yield what these sinks take."""
    secrets = [at for at in found if at[2].store is Store.SECRETS_MANAGER]
    if secrets:
        named = _by_name((place, name) for place, name in map(_secret, secrets))
        yield _allow("WriteSecrets", ["secretsmanager:PutSecretValue"], named)
        made = [at for at in secrets if not at[2].name.startswith("arn:")]
        if made:
            yield _allow("MakeSecrets", ["secretsmanager:CreateSecret"], _by_name(map(_secret, made)))
    parameters = [at for at in found if at[2].store is Store.PARAMETER_STORE]
    if parameters:
        yield _allow("WriteParameters", ["ssm:PutParameter"], _by_name(map(_parameter, parameters)))
    keys = sorted({arn for at in found if (arn := _key(at))})
    if keys:
        yield _allow("EncryptValues", ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"], keys)


def _secret(at: At) -> tuple[str, str]:
    region, account, sink = at
    if sink.name.startswith("arn:"):
        place, _, name = sink.name.partition(":secret:")
        return f"{place}:secret:", name
    return f"arn:aws:secretsmanager:{region}:{account}:secret:", f"{sink.name}-??????"


def _parameter(at: At) -> tuple[str, str]:
    region, account, sink = at
    return f"arn:aws:ssm:{region}:{account}:parameter/", sink.name.lstrip("/")


def _key(at: At) -> str:
    """Return the ARN of the key that a sink names; a key that is named by an alias cannot be told by its ARN."""
    region, account, sink = at
    if not sink.kms_key or sink.kms_key.startswith("arn:"):
        return sink.kms_key
    identifier = "*" if sink.kms_key.startswith("alias/") else sink.kms_key
    return f"arn:aws:kms:{region}:{account}:key/{identifier}"


def _by_name(found: Iterable[tuple[str, str]]) -> list[str]:
    places: dict[str, set[str]] = {}
    for place, name in found:
        places.setdefault(place, set()).add(name)
    return sorted(
        place + name
        for place, names in places.items()
        for name in (names if len(names) <= _MOST_NAMES else [_beginning(names) + "*"])
    )


def _beginning(names: set[str]) -> str:
    """Return what all of these begin with."""
    first, last = min(names), max(names)
    same = next(
        (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        min(len(first), len(last)),
    )
    return first[:same]


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, object]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
