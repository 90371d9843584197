"""Rules between fields, tags and resources: what AWS would refuse although each field is valid by its model.

The functions for one resource take its fields after validation by ``models``, defaults merged, and yield ``Fault``s with paths into them.
Sources: the service model and the user guide (pages on channels, recording, multitrack and server-side ad insertion).
Tags (service model, Tag Editor guide): letters, spaces and digits of any script and ``_.:/=+-@``; keys that start with ``aws:`` are reserved.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, assert_never

from reconciler.model.address import MAX_SPEC_TAGS, MAX_TAGS, PREFIX, Address, KindName
from reconciler.model.kinds import FIELDS, KINDS, QUOTAS, parent_of
from reconciler.model.kinds import REFERENCES as REFERRING
from reconciler.model.kinds.ivs import ADVANCED_TYPES
from reconciler.model.resource import DesiredResource
from reconciler.spec.models import COUNTRIES, RENAMED
from reconciler.spec.problems import Fault, KeyPath, Problems, quote, suggestion
from reconciler.spec.resources import Entry

Fields = Mapping[str, Any]

NOT_PROPERTIES = frozenset({"tags", "protect", "ignoreChanges", "streamKey", "rotation", "override"})
"""Fields of an entry that are not properties of its kind."""

REFERENCES: Mapping[str, tuple[str, KindName]] = {
    field.spec_name: (field.name, field.references)
    for fields in REFERRING.values()
    for field in fields
    if field.references is not None
}
"""By name of the field for an id, the name of the field for an ARN, and the kind referred to."""

SIBLINGS: Mapping[str, str] = {by_id: by_arn for by_id, (by_arn, _) in REFERENCES.items()} | {
    by_arn: by_id for by_id, (by_arn, _) in REFERENCES.items()
}
"""By form of a reference (id or ARN), the name of the other form."""


WITH_DEFAULTS = KindName.CHANNEL
"""The kind with defaults in the project file."""

_COMBINED = frozenset({"type", "preset", "containerFormat", "multitrackInputConfiguration"})
"""Fields of a channel that are checked together."""


class TargetLocation(NamedTuple):
    """Account and region of the target; ARNs have to match them."""

    region: str
    account_id: str | None = None


def faults_in(
    kind: KindName, fields: Fields, location: TargetLocation, broken: frozenset[str] = frozenset()
) -> Iterator[Fault]:
    """Yield the faults of the fields of one resource.

    ``broken`` names invalid fields, which are not in ``fields``; rules that need them are skipped.
    """
    match kind:
        case KindName.CHANNEL:
            return _channel(fields, location, broken)
        case KindName.RECORDING_CONFIGURATION:
            return _recording_configuration(fields)
        case KindName.PLAYBACK_RESTRICTION_POLICY:
            return _restriction_policy(fields)
        case KindName.AD_CONFIGURATION:
            return _ad_configuration(fields)
        case KindName.PLAYBACK_KEY_PAIR:
            return _key_pair(fields, broken)
        case KindName.FAILOVER_SLATE_CONFIGURATION | KindName.STREAM_KEY:
            return iter(())
        case _:
            assert_never(kind)


_BY_ARN = frozenset(by_arn for by_arn, _ in REFERENCES.values())


def conflicting_references(body: Fields) -> Iterator[Fault]:
    """Yield a fault for each reference given both by id and by ARN."""
    if body.keys().isdisjoint(_BY_ARN):
        return
    for by_id, (by_arn, _) in REFERENCES.items():
        if body.get(by_id) is not None and body.get(by_arn) is not None:
            yield Fault((by_arn,), f"{by_id} and {by_arn} cannot be combined", "remove one of the two", at_key=True)


def arn_faults(fields: Fields, location: TargetLocation) -> Iterator[Fault]:
    """Yield a fault for each reference by ARN to another region or account."""
    for by_arn, _ in REFERENCES.values():
        arn = fields.get(by_arn)
        if not arn:
            continue
        _, _, _, region, account, _ = arn.split(":", 5)
        if region != location.region:
            yield Fault(
                (by_arn,),
                f"{by_arn} is in {region}, but the target is in {location.region}",
                "use one in the same region",
            )
        if location.account_id and account != location.account_id:
            yield Fault(
                (by_arn,),
                f"{by_arn} is in account {account}, but the target is in account {location.account_id}",
                "use one in the same account",
            )


def parse_ignored_fields(kind: KindName, names: Sequence[str]) -> tuple[frozenset[str], list[Fault]]:
    """Return the API field names in ``ignoreChanges``, and its faults."""
    known = _names_of(kind)
    found: set[str] = set()
    faults: list[Fault] = []
    for index, name in enumerate(names):
        path: KeyPath = ("ignoreChanges", index)
        if name in known:
            found.add(known[name])
        elif name == "tags" or (name.startswith("tags/") and len(name) > len("tags/")):
            found.add(name)
            if name.lower().startswith("tags/ivs-reconciler:"):
                faults.append(Fault(path, f"{quote(name)} is an ownership tag, which is always compared", "remove it"))
        else:
            choices = [*(field.spec_name or field.name for field in FIELDS[kind].values()), "tags"]
            faults.append(
                Fault(
                    path,
                    f"ignoreChanges: {quote(name)} is not a {KINDS[kind].title} field",
                    suggestion(name, [*known, "tags"], otherwise=f"the fields are {', '.join(choices)}, tags/<key>"),
                )
            )
    return frozenset(found), faults


@lru_cache
def _names_of(kind: KindName) -> Mapping[str, str]:
    """Return the API name of each field, by its API name and by its name in the spec."""
    return {field.spec_name or field.name: field.name for field in FIELDS[kind].values()} | {
        name: name for name in FIELDS[kind]
    }


def _channel(fields: Fields, location: TargetLocation, broken: frozenset[str]) -> Iterator[Fault]:
    if not broken & _COMBINED:
        yield from _combinations(fields)
    yield from arn_faults(fields, location)


def _combinations(fields: Fields) -> Iterator[Fault]:
    if fields.get("preset") and fields.get("type", "STANDARD") not in ADVANCED_TYPES:
        kind = fields.get("type", "STANDARD")
        yield Fault(
            ("preset",),
            f"preset requires an ADVANCED type, but the type is {kind}",
            "remove preset, or write type: ADVANCED_SD or ADVANCED_HD",
        )
    multitrack = fields.get("multitrackInputConfiguration")
    if multitrack and multitrack.get("enabled"):
        yield from _multitrack(fields, multitrack)
    if (fields.get("adConfiguration") or fields.get("adConfigurationArn")) and fields.get(
        "containerFormat", "TS"
    ) != "TS":
        by = "adConfiguration" if fields.get("adConfiguration") else "adConfigurationArn"
        yield Fault(
            (by,),
            f"{by} requires containerFormat TS, but it is {fields['containerFormat']}",
            f"remove {by}, or write containerFormat: TS",
        )


def _multitrack(fields: Fields, multitrack: Fields) -> Iterator[Fault]:
    path = ("multitrackInputConfiguration", "enabled")
    if (kind := fields.get("type", "STANDARD")) != "STANDARD":
        yield Fault(
            path,
            f"multitrack input requires type STANDARD, but the type is {kind}",
            "disable it, or write type: STANDARD",
        )
    if (container := fields.get("containerFormat", "TS")) != "FRAGMENTED_MP4":
        yield Fault(
            path,
            f"multitrack input requires containerFormat FRAGMENTED_MP4, but it is {container}",
            "disable it, or write containerFormat: FRAGMENTED_MP4",
        )
    for member, choices in (("policy", "ALLOW or REQUIRE"), ("maximumResolution", "SD, HD or FULL_HD")):
        if multitrack.get(member) is None:
            yield Fault(path, f"multitrack input requires {member}", f"write {member}: {choices}")


def _recording_configuration(fields: Fields) -> Iterator[Fault]:
    thumbnails = fields.get("thumbnailConfiguration") or {}
    if thumbnails.get("recordingMode") == "DISABLED" and thumbnails.get("targetIntervalSeconds") is not None:
        path = ("thumbnailConfiguration", "targetIntervalSeconds")
        yield Fault(
            path,
            "targetIntervalSeconds cannot be combined with recordingMode DISABLED",
            "remove it, or write recordingMode: INTERVAL",
            at_key=True,
        )
    yield from _repeated(("thumbnailConfiguration", "storage"), thumbnails.get("storage"))
    renditions = fields.get("renditionConfiguration") or {}
    selection = renditions.get("renditionSelection") or "ALL"
    chosen = renditions.get("renditions")
    if selection == "CUSTOM" and not chosen:
        yield Fault(
            ("renditionConfiguration", "renditionSelection"),
            "renditionSelection CUSTOM requires renditions",
            "write renditions: [HD, SD], or choose another selection",
        )
    if selection != "CUSTOM" and chosen:
        path = ("renditionConfiguration", "renditions")
        yield Fault(
            path,
            f"renditions have no effect with renditionSelection {selection}",
            "write renditionSelection: CUSTOM, or remove them",
            at_key=True,
        )
    yield from _repeated(("renditionConfiguration", "renditions"), chosen)
    destination = fields.get("destinationConfiguration")
    bucket = destination["s3"]["bucketName"] if destination else ""
    if ".." in bucket:
        yield Fault(
            ("destinationConfiguration", "s3", "bucketName"),
            f"bucketName {quote(bucket)} contains two dots in a row",
            "S3 does not allow that; correct the name",
        )


def _restriction_policy(fields: Fields) -> Iterator[Fault]:
    countries = fields.get("allowedCountries")
    for index, code in enumerate(countries or ()):
        if code in COUNTRIES:
            continue
        upper = code.upper()
        if upper in COUNTRIES:
            hint = f"write {upper}"
        elif upper in RENAMED:
            hint = f"did you mean {RENAMED[upper]}?"
        else:
            hint = "write an assigned ISO 3166-1 alpha-2 code, such as DE"
        yield Fault(("allowedCountries", index), f"allowedCountries: {quote(code)} is not a country code", hint)
    yield from _repeated(("allowedCountries",), countries)
    yield from _repeated(("allowedOrigins",), fields.get("allowedOrigins"))


def _ad_configuration(fields: Fields) -> Iterator[Fault]:
    key = "mediaTailorPlaybackConfigurations"
    seen: set[str] = set()
    for index, entry in enumerate(fields.get(key) or ()):
        arn = entry.get("playbackConfigurationArn")
        if arn in seen:
            yield Fault((key, index), f"{key}: duplicate playback configuration", "remove one")
        seen.add(arn)


_MATERIAL, _FINGERPRINT = "publicKeyMaterial", "fingerprint"


def _key_pair(fields: Fields, broken: frozenset[str]) -> Iterator[Fault]:
    if _MATERIAL in fields and _FINGERPRINT in fields:
        yield Fault(
            (_FINGERPRINT,), f"{_MATERIAL} and {_FINGERPRINT} cannot be combined", "remove one of the two", at_key=True
        )
    elif not (fields.keys() | broken) & {_MATERIAL, _FINGERPRINT}:
        what = f"{_MATERIAL} is missing"
        yield Fault((), what, f"add it, or {_FINGERPRINT} for a key pair that is in the account")


def _repeated(path: KeyPath, values: Sequence[str] | None) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, value in enumerate(values or ()):
        if value in seen:
            yield Fault((*path, index), f"{path[-1]}: duplicate {quote(value)}", "remove one")
        seen.add(value)


_COMMON = re.compile(r"[A-Za-z0-9 _.:/=+\-@]*")
_SIGNS = frozenset("_.:/=+-@")


def tag_faults(tags: Mapping[str, str | None]) -> Iterator[Fault]:
    """Yield the faults of the keys and values of one ``tags`` mapping; ``None`` removes a default."""
    for key, value in tags.items():
        yield from _key_faults(key)
        if value and (wrong := _disallowed_character(value)):
            yield Fault(
                (key,),
                f"the value of tag {quote(key)} contains {wrong}",
                "use letters, digits, spaces and _ . : / = + - @",
            )


def tag_count_fault(count: int, *, kept: int = MAX_TAGS - MAX_SPEC_TAGS) -> Fault | None:
    """Return a fault if a resource has too many tags. ``count`` includes default tags; ``kept`` is the number of ownership tags."""
    if count <= MAX_TAGS - kept:
        return None
    return Fault(
        ("tags",),
        f"{count} tags, default tags included; the limit is {MAX_TAGS - kept} (AWS allows {MAX_TAGS}, {kept} are reserved for ownership)",
        f"remove {count - MAX_TAGS + kept}",
        at_key=True,
    )


@lru_cache(maxsize=4096)
def _key_faults(key: str) -> tuple[Fault, ...]:
    faults = []
    folded = key[: len(PREFIX)].lower()
    if folded.startswith("aws:"):
        faults.append(
            Fault(
                (key,),
                f"the tag key {quote(key)} starts with aws:, which is reserved for AWS",
                "choose another key",
                at_key=True,
            )
        )
    elif folded == PREFIX:
        faults.append(
            Fault(
                (key,),
                f"the tag key {quote(key)} starts with {PREFIX}, which is reserved for ownership",
                "choose another key",
                at_key=True,
            )
        )
    if wrong := _disallowed_character(key):
        faults.append(
            Fault(
                (key,),
                f"the tag key {quote(key)} contains {wrong}",
                "use letters, digits, spaces and _ . : / = + - @",
                at_key=True,
            )
        )
    return tuple(faults)


@lru_cache(maxsize=4096)
def _disallowed_character(text: str) -> str:
    if _COMMON.fullmatch(text):
        return ""
    for character in text:
        if character not in _SIGNS and unicodedata.category(character)[0] not in "LZN":
            return f'"{character}"' if character.isprintable() else f"the character U+{ord(character):04X}"
    return ""


def ids_by_kind(entries: Iterable[Address]) -> dict[KindName, dict[str, None]]:
    """Return the ids of each kind, in the order of the entries."""
    found: dict[KindName, dict[str, None]] = {kind: {} for kind in KINDS}
    for address in entries:
        found[address.kind][address.id] = None
    return found


def reference_fault(name: str, identifier: str, ids: Mapping[KindName, Mapping[str, None]]) -> Fault | None:
    """Return a fault if a reference by id has no entry. ``ids`` are those of each kind."""
    kind = REFERENCES[name][1]
    known = ids[kind]
    if identifier in known:
        return None
    section = KINDS[kind].section
    what = f"{name} refers to {quote(identifier)}, which is not defined under {section}"
    return Fault(
        (name,),
        what,
        suggestion(identifier, known, otherwise=f"add it there, or write its ARN under {REFERENCES[name][0]}"),
    )


def _check_references(entries: Mapping[Address, Entry], problems: Problems, *, complete: bool) -> None:
    """Add a problem for each reference given in both forms, and if ``entries`` are ``complete``, for each by id that has no entry."""
    ids = ids_by_kind(entries)
    for address, entry in entries.items():
        body = entry.body if REFERRING[address.kind] else {}
        for conflict in conflicting_references(body):
            entry.note(problems, conflict)
        if not complete:
            continue
        for name in REFERENCES:
            if name in body and (fault := reference_fault(name, body[name], ids)):
                entry.note(problems, fault)


def check_across_resources(
    entries: Mapping[Address, Entry],
    resources: Mapping[Address, DesiredResource],
    problems: Problems,
    *,
    complete: bool,
) -> None:
    """Add problems for references, for sinks and public keys that two have, and for more resources than a fixed quota allows.

    References by id are checked only if ``entries`` are ``complete``.
    """
    _check_references(entries, problems, complete=complete)
    sinks: dict[str, Address] = {}
    for address in _of(resources, KindName.STREAM_KEY):
        sink = resources[address].sink
        if sink is not None and (other := sinks.setdefault(sink.place, address)) != address:
            what, hint = (
                f"{sink} is also the sink of {other}",
                "use one sink per key, such as a name that contains {id}",
            )
            entries[parent_of(address)].note(problems, Fault(("streamKey",), what, hint))
    first: dict[object, Address] = {}
    for address in _of(resources, KindName.PLAYBACK_KEY_PAIR):
        fingerprint = resources[address].properties.get("fingerprint")
        if fingerprint is None:
            continue
        other = first.setdefault(fingerprint, address)
        if other != address:
            entries[address].note(
                problems,
                Fault(
                    (_MATERIAL if _MATERIAL in entries[address].body else _FINGERPRINT,),
                    f"duplicate public key (first used by {other} at {entries[other].where})",
                    "remove one of the two; AWS accepts a key only once",
                ),
            )
    for kind, quota in QUOTAS.items():
        addresses, limit = sorted(_of(entries, kind)), quota.default
        if not quota.adjustable and len(addresses) > limit:
            what = (
                f"{KINDS[kind].with_count(len(addresses))}, more than the fixed quota of {limit} per account and region"
            )
            entries[addresses[limit]].note(problems, Fault((), what, f"remove {len(addresses) - limit}", at_key=True))


def warnings_of(entries: Mapping[Address, Entry], resources: Mapping[Address, DesiredResource]) -> tuple[str, ...]:
    """Return the warnings of a spec, one line each: what is allowed but probably a mistake."""
    lines: list[str] = []
    authorized = [
        address for address in _of(resources, KindName.CHANNEL) if resources[address].properties.get("authorized")
    ]
    if authorized and not any(True for _ in _of(resources, KindName.PLAYBACK_KEY_PAIR)):
        lines.append(
            f"{_where(entries, authorized)} authorized is true, but the spec has no playback key pair{_and_others(authorized)}; viewers need a token signed with a key that is imported into the account"
        )
    doubly = [address for address in authorized if resources[address].properties.get("playbackRestrictionPolicyArn")]
    if doubly:
        lines.append(
            f"{_where(entries, doubly)} IVS ignores the playback restriction policy while authorized is true{_and_others(doubly)}; set the restrictions in the tokens"
        )
    for kind, quota in QUOTAS.items():
        addresses, limit = list(_of(resources, kind)), quota.default
        if quota.adjustable and len(addresses) > limit:
            lines.append(
                f"{_where(entries, addresses[limit:])} {KINDS[kind].with_count(len(addresses))} exceed the default quota of {limit:,}; request an increase first"
            )
    return tuple(lines)


def _of(addresses: Iterable[Address], kind: KindName) -> Iterable[Address]:
    return (address for address in addresses if address.kind is kind)


def _where(entries: Mapping[Address, Entry], addresses: list[Address]) -> str:
    return f"{entries[addresses[0]].where}: {addresses[0]}:"


def _and_others(addresses: list[Address]) -> str:
    match len(addresses) - 1:
        case 0:
            return ""
        case 1:
            return f" (also {addresses[1]})"
        case more:
            return f" (also {more:,} other channels)"
