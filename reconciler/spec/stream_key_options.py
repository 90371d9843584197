"""Reads the rotation label and sink of stream keys, and the overlap of playback key pairs.

The name of a sink may contain placeholders. Its pattern is that of Secrets Manager or Parameter Store;
its length is limited because it is also written as a tag value of at most 256 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from reconciler.model.address import DELIVERED, MAX_SPEC_TAGS, MAX_TAGS, ROTATION, SPEC
from reconciler.model.resource import DesiredResource, digest_of
from reconciler.model.target import Sink, SinkValue, Store, seconds_of
from reconciler.spec.problems import Fault, Problems, quote
from reconciler.spec.resources import Entry
from reconciler.spec.rules import count_fault
from reconciler.spec.templates import SAMPLE, fill

_LONGEST = 240
_LONGEST_OVERLAP_DAYS = 9_999
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
    longest = _LONGEST - len(".json") if sink.value is SinkValue.JSON else _LONGEST
    if len(name) > longest:
        yield Fault((), f"{quote(name)} has {len(name)} characters, more than the limit of {longest}", "shorten it")
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
    return seconds_of(text, days=_LONGEST_OVERLAP_DAYS) if text else 0


def with_options(
    key: DesiredResource, label: str, sink: Sink | None, entry: Entry, user_tags: int, problems: Problems
) -> DesiredResource:
    """Return a stream key with its label and sink as tags and in its digest, to be compared with the tags of the live key."""
    options = {**({ROTATION: label} if label else {}), **({DELIVERED: sink.mark} if sink else {})}
    if too_many := count_fault(user_tags, kept=MAX_TAGS - MAX_SPEC_TAGS + len(options)):
        entry.note(problems, too_many.below(("streamKey",)))
    digest = digest_of({"digest": key.digest, **options})
    return replace(key, tags={**key.tags, SPEC: digest, **options}, digest=digest, sink=sink)
