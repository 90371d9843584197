"""What only the whole spec shows: references that lead nowhere, one key under two names, more resources than any account holds, and what is worth a warning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredResource
from reconciler.spec.entries import Entry
from reconciler.spec.problems import Fault, Problems, shown, suggestion
from reconciler.spec.rules import REFERENCES

_FIXED: Mapping[KindName, int] = {
    KindName.PLAYBACK_KEY_PAIR: 3,
    KindName.PLAYBACK_RESTRICTION_POLICY: 3,
    KindName.AD_CONFIGURATION: 20,
}
"""Quotas per account and region that AWS does not raise (service quotas page)."""

_ADJUSTABLE: Mapping[KindName, int] = {KindName.CHANNEL: 5_000, KindName.RECORDING_CONFIGURATION: 20}
"""Default quotas that AWS raises on request (the same page)."""


def reference_fault(name: str, identifier: str, entries: Mapping[Address, Entry]) -> Fault | None:
    """Return the fault of a reference that leads nowhere."""
    kind = REFERENCES[name][1]
    if Address(kind, identifier) in entries:
        return None
    section = KINDS[kind].section
    known = [address.id for address in entries if address.kind is kind]
    what = f"{name} refers to {shown(identifier)}, which is not among the {section} of this spec"
    return Fault(
        (name,),
        what,
        suggestion(identifier, known, otherwise=f"add it there, or write its ARN under {REFERENCES[name][0]}"),
    )


def check_references(entries: Mapping[Address, Entry], problems: Problems) -> None:
    """Note every reference by id that leads nowhere."""
    for address, entry in entries.items():
        if address.kind is not KindName.CHANNEL:
            continue
        body = entry.body
        for name in REFERENCES:
            if name in body and (fault := reference_fault(name, body[name], entries)):
                entry.note(problems, fault)


def check_whole(
    entries: Mapping[Address, Entry], resources: Mapping[Address, DesiredResource], problems: Problems
) -> None:
    """Note key pairs that share a key, and more resources than fit into an account."""
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
                    ("publicKeyMaterial",),
                    f"this is the public key of {other} too ({entries[other].where}); AWS takes a key once",
                    "remove one of the two",
                ),
            )
    for kind, most in _FIXED.items():
        addresses = sorted(_of(entries, kind))
        if len(addresses) > most:
            what = f"{len(addresses)} {KINDS[kind].title.replace('policy', 'policie')}s, and an account has room for {most} in a region, which AWS does not raise"
            entries[addresses[most]].note(problems, Fault((), what, f"remove {len(addresses) - most}", at_key=True))


def warnings_of(entries: Mapping[Address, Entry], resources: Mapping[Address, DesiredResource]) -> tuple[str, ...]:
    """Return what is allowed and probably not meant, a line each."""
    lines: list[str] = []
    authorized = [
        address for address in _of(resources, KindName.CHANNEL) if resources[address].properties.get("authorized")
    ]
    if authorized and not any(True for _ in _of(resources, KindName.PLAYBACK_KEY_PAIR)):
        lines.append(
            f"{_where(entries, authorized)} authorized is true and the spec has no playback key pair{_others(authorized)}; viewers need a token signed with a key that the account holds"
        )
    doubly = [address for address in authorized if resources[address].properties.get("playbackRestrictionPolicyArn")]
    if doubly:
        lines.append(
            f"{_where(entries, doubly)} IVS ignores the playback restriction policy while authorized is true{_others(doubly)}; put the restrictions into the tokens"
        )
    for kind, most in _ADJUSTABLE.items():
        addresses = list(_of(resources, kind))
        if len(addresses) > most:
            lines.append(
                f"{_where(entries, addresses[most:])} {len(addresses):,} {KINDS[kind].titles} are more than the default quota of {most:,}; ask AWS to raise it first"
            )
    return tuple(lines)


def _of(addresses: Iterable[Address], kind: KindName) -> Iterable[Address]:
    return (address for address in addresses if address.kind is kind)


def _where(entries: Mapping[Address, Entry], addresses: list[Address]) -> str:
    return f"{entries[addresses[0]].where}: {addresses[0]}:"


def _others(addresses: list[Address]) -> str:
    match len(addresses) - 1:
        case 0:
            return ""
        case 1:
            return f" (also {addresses[1]})"
        case more:
            return f" (also {more:,} other channels)"
