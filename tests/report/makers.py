"""Short makers of plans for the views: a small one with every sort of action, big ones, and Hypothesis strategies for hostile ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

from hypothesis import strategies as st

from reconciler.diff import FieldChange
from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.values import Ref, Value
from reconciler.plan.plan import (
    Action,
    ApplyResult,
    Blocked,
    Duplicate,
    LiveChannel,
    Observed,
    Orphan,
    Outcome,
    Plan,
    PlanOptions,
    Reason,
    ReplaceOrder,
    Result,
    Step,
    Summary,
    TargetPlan,
    Verb,
)

REASONS: Mapping[Verb, Reason] = {
    Verb.CREATE: Reason.NOT_IN_ACCOUNT,
    Verb.UPDATE: Reason.PROPERTIES_DIFFER,
    Verb.REPLACE: Reason.IMMUTABLE_CHANGED,
    Verb.DELETE: Reason.LEFT_SPEC,
    Verb.ADOPT: Reason.CONSENTED,
    Verb.FORGET: Reason.LEFT_SPEC,
}


def an_arn(kind: KindName, tail: str) -> str:
    return f"arn:aws:ivs:us-west-2:123456789012:{KINDS[kind].arn_type}/{tail}"


def added(path: str, after: Value) -> FieldChange:
    return FieldChange(path, None, after, absent_before=True)


def removed(path: str, before: Value) -> FieldChange:
    return FieldChange(path, before, None, absent_after=True)


def an_action(
    verb: Verb,
    address: str,
    *changes: FieldChange,
    explanation: str = "",
    steps: tuple[Step, ...] = (),
    blocked: Blocked | None = None,
    warnings: tuple[str, ...] = (),
    order: ReplaceOrder | None = None,
    arn: str | None = None,
    observed: Observed | None = None,
) -> Action:
    return Action(
        Address.parse(address),
        verb,
        REASONS[verb],
        explanation or f"{REASONS[verb].value.replace('-', ' ')}: {address}",
        arn=arn,
        changes=changes,
        steps=steps,
        blocked=blocked,
        warnings=warnings,
        order=order,
        observed=observed,
    )


def a_target(
    *actions: Action,
    name: str = "prod",
    orphans: tuple[Orphan, ...] = (),
    duplicates: tuple[Duplicate, ...] = (),
    notes: tuple[str, ...] = (),
    live_channels: tuple[LiveChannel, ...] = (),
) -> TargetPlan:
    verbs = Counter(action.verb for action in actions if not action.blocked)
    summary = Summary(
        create=verbs[Verb.CREATE],
        update=verbs[Verb.UPDATE],
        replace=verbs[Verb.REPLACE],
        delete=verbs[Verb.DELETE],
        adopt=verbs[Verb.ADOPT],
        forget=verbs[Verb.FORGET],
        unchanged=41,
        unmanaged=3,
        orphaned=len(orphans),
        blocked=sum(1 for action in actions if action.blocked),
    )
    managed = {KindName.CHANNEL: 38, KindName.RECORDING_CONFIGURATION: 2, KindName.STREAM_KEY: 12}
    return TargetPlan(
        name,
        "123456789012",
        "us-west-2",
        "sha256:" + "5" * 32,
        actions,
        summary,
        managed,
        45,
        orphans,
        duplicates,
        notes,
        live_channels,
    )


def a_plan(*targets: TargetPlan) -> Plan:
    return Plan(
        "acme-live",
        "2026-05-04T10:20:30Z",
        "3f2c1d0b9a8877665544332211ffeeddccbbaa00",
        "sha256:" + "5" * 32,
        PlanOptions(),
        targets,
    )


def a_result(*outcomes: Outcome, interrupted: bool = False) -> ApplyResult:
    return ApplyResult("prod", outcomes, interrupted=interrupted, calls=14, seconds=3.25)


def the_small_target() -> TargetPlan:
    """Every verb, both orders of replacement, blocked actions, sets, tags, references, warnings, notes."""
    archive = Address(KindName.RECORDING_CONFIGURATION, "archive")
    policy = Address(KindName.PLAYBACK_RESTRICTION_POLICY, "eu-only")
    recording_arn = an_arn(KindName.RECORDING_CONFIGURATION, "AbCdEfGhIjKl")
    return a_target(
        an_action(
            Verb.REPLACE,
            "recording-configuration/archive",
            FieldChange("/thumbnailConfiguration/targetIntervalSeconds", 60, 30),
            FieldChange(
                "/renditionConfiguration/renditions", ("FULL_HD", "HD", "SD"), ("FULL_HD", "HD", "LOWEST_RESOLUTION")
            ),
            explanation="the service cannot change thumbnailConfiguration of a recording configuration, so a new one takes its place",
            order=ReplaceOrder.CREATE_FIRST,
            arn=recording_arn,
            steps=(
                Step(
                    f"{archive}#1",
                    "CreateRecordingConfiguration",
                    {"name": "archive", "tags": {"ivs-reconciler:stack": "acme-live"}},
                ),
                Step(
                    f"{archive}#2",
                    "DeleteRecordingConfiguration",
                    {"arn": recording_arn},
                    after=("channel/main-stage#1",),
                ),
            ),
        ),
        an_action(
            Verb.REPLACE,
            "playback-key-pair/web-player",
            FieldChange(
                "/fingerprint",
                "0f:1e:2d:3c:4b:5a:69:78:87:96:a5:b4:c3:d2:e1:f0",
                "ff:ee:dd:cc:bb:aa:99:88:77:66:55:44:33:22:11:00",
            ),
            explanation="a key pair cannot be changed, and the quota of 3 leaves no room for a second one",
            order=ReplaceOrder.DELETE_FIRST,
            warnings=("viewers with tokens signed by the key that goes are cut off until players have the new one",),
            arn=an_arn(KindName.PLAYBACK_KEY_PAIR, "KeyKeyKey123"),
        ),
        an_action(
            Verb.CREATE,
            "playback-restriction-policy/eu-only",
            added("/name", "eu-only"),
            added("/allowedCountries", ("DE", "FR")),
            added("/allowedOrigins", ("https://example.com",)),
            added("/tags/team", "video"),
            steps=(
                Step(
                    f"{policy}#1",
                    "CreatePlaybackRestrictionPolicy",
                    {"name": "eu-only", "allowedCountries": ("DE", "FR")},
                ),
            ),
        ),
        an_action(
            Verb.UPDATE,
            "channel/main-stage",
            FieldChange("/latencyMode", "LOW", "NORMAL"),
            FieldChange("/authorized", before=False, after=True),
            FieldChange("/recordingConfigurationArn", recording_arn, Ref(archive)),
            added("/playbackRestrictionPolicyArn", Ref(policy)),
            FieldChange("/tags/event", "keynote-2025", "keynote-2026"),
            removed("/tags/temporary", "yes"),
            FieldChange("/tags/ivs-reconciler:spec", "1" * 32, "2" * 32),
            explanation="2 references, 2 properties and 2 tags differ",
            arn=an_arn(KindName.CHANNEL, "MainStage001"),
            steps=(
                Step(
                    "channel/main-stage#1",
                    "UpdateChannel",
                    {"arn": an_arn(KindName.CHANNEL, "MainStage001"), "latencyMode": "NORMAL"},
                    after=(f"{archive}#1", f"{policy}#1"),
                ),
                Step(
                    "channel/main-stage#2",
                    "TagResource",
                    {"resourceArn": an_arn(KindName.CHANNEL, "MainStage001"), "tags": {"event": "keynote-2026"}},
                ),
            ),
        ),
        an_action(
            Verb.CREATE,
            "channel/side-stage",
            added("/name", "side-stage"),
            added("/type", "BASIC"),
            added("/recordingConfigurationArn", Ref(archive)),
        ),
        an_action(
            Verb.CREATE,
            "stream-key/side-stage",
            added("/channelArn", Ref(Address(KindName.CHANNEL, "side-stage"))),
            steps=(
                Step(
                    "stream-key/side-stage#1",
                    "TagResource",
                    {"resourceArn": Ref(Address(KindName.STREAM_KEY, "side-stage"))},
                ),
            ),
        ),
        an_action(
            Verb.UPDATE,
            "channel/on-air",
            FieldChange("/type", "STANDARD", "ADVANCED_HD"),
            blocked=Blocked(
                "live", "channel/on-air is live since 2026-05-04T09:00:00Z with 1200 viewers; wait, or stop the stream"
            ),
            arn=an_arn(KindName.CHANNEL, "OnAir0000001"),
        ),
        an_action(
            Verb.DELETE,
            "channel/keeper",
            blocked=Blocked(
                "protected", "the live resource carries ivs-reconciler:protect=true; set protect: false and apply first"
            ),
            arn=an_arn(KindName.CHANNEL, "Keeper000001"),
        ),
        an_action(
            Verb.DELETE,
            "channel/last-year",
            explanation="removed from the spec (prune enabled)",
            arn=an_arn(KindName.CHANNEL, "LastYear0001"),
        ),
        an_action(
            Verb.ADOPT, "channel/found", added("/tags/team", "video"), arn=an_arn(KindName.CHANNEL, "Found0000001")
        ),
        orphans=(Orphan(Address(KindName.CHANNEL, "gone"), an_arn(KindName.CHANNEL, "Gone00000001"), protected=True),),
        duplicates=(
            Duplicate(
                Address(KindName.CHANNEL, "twin"),
                an_arn(KindName.CHANNEL, "Twin1"),
                (an_arn(KindName.CHANNEL, "Twin2"),),
            ),
        ),
        notes=("ad configurations could not be listed (AccessDeniedException); no spec needs them",),
        live_channels=(
            LiveChannel(
                Address(KindName.CHANNEL, "main-stage"),
                an_arn(KindName.CHANNEL, "MainStage001"),
                "2026-05-04T09:30:00Z",
                4,
            ),
            LiveChannel(
                Address(KindName.CHANNEL, "on-air"),
                an_arn(KindName.CHANNEL, "OnAir0000001"),
                "2026-05-04T09:00:00Z",
                1200,
                "STARVING",
            ),
        ),
    )


def the_small_result() -> ApplyResult:
    return a_result(
        Outcome(
            Address(KindName.RECORDING_CONFIGURATION, "archive"),
            Verb.REPLACE,
            Result.FAILED,
            "ConflictException: the bucket is in another region",
            "req-0001",
        ),
        Outcome(
            Address(KindName.CHANNEL, "main-stage"),
            Verb.UPDATE,
            Result.SKIPPED,
            "waits for recording-configuration/archive, which failed",
        ),
        Outcome(Address(KindName.CHANNEL, "on-air"), Verb.UPDATE, Result.BLOCKED, "live"),
        Outcome(
            Address(KindName.CHANNEL, "side-stage"),
            Verb.CREATE,
            Result.DONE,
            request_id="req-0002",
            arn=an_arn(KindName.CHANNEL, "SideStage001"),
        ),
        Outcome(Address(KindName.CHANNEL, "last-year"), Verb.DELETE, Result.DONE, request_id="req-0003"),
    )


def a_big_target(count: int) -> TargetPlan:
    """A mix as in a season's change: mostly updates and creates, some deletes, stream keys beside new channels, all on one replaced recording."""
    recording = Address(KindName.RECORDING_CONFIGURATION, "archive")
    actions: list[Action] = [
        an_action(
            Verb.REPLACE,
            str(recording),
            FieldChange("/recordingReconnectWindowSeconds", 0, 60),
            order=ReplaceOrder.CREATE_FIRST,
        )
    ]
    for number in range(count - 1):
        address = f"channel/stage-{number:05}"
        arn = an_arn(KindName.CHANNEL, f"Stage{number:07}")
        match number % 5:
            case 0:
                changes = (
                    added("/name", f"stage-{number:05}"),
                    added("/type", "STANDARD"),
                    added("/recordingConfigurationArn", Ref(recording)),
                    added("/tags/slot", f"slot {number}"),  # each differs, so that none is folded
                    added("/tags/team", "video"),
                )
                actions.append(
                    an_action(
                        Verb.CREATE,
                        address,
                        *changes,
                        steps=(Step(f"{address}#1", "CreateChannel", {"name": f"stage-{number:05}"}),),
                    )
                )
            case 1:
                actions.append(
                    an_action(
                        Verb.CREATE,
                        f"stream-key/stage-{number - 1:05}",
                        added("/channelArn", Ref(Address(KindName.CHANNEL, f"stage-{number - 1:05}"))),
                    )
                )
            case 4:
                actions.append(
                    an_action(
                        Verb.DELETE, address, arn=arn, steps=(Step(f"{address}#1", "DeleteChannel", {"arn": arn}),)
                    )
                )
            case _:
                differ = (
                    FieldChange("/latencyMode", "LOW", "NORMAL"),
                    FieldChange("/tags/event", "spring", f"autumn {number}"),
                )
                steps = (
                    Step(f"{address}#1", "UpdateChannel", {"arn": arn, "latencyMode": "NORMAL"}),
                    Step(f"{address}#2", "TagResource", {"resourceArn": arn, "tags": {"event": "autumn"}}),
                )
                actions.append(an_action(Verb.UPDATE, address, *differ, arn=arn, steps=steps))
    return a_target(*actions)


HOSTILE = (
    "@acme/everyone", "#123", "GH-7", "org/repo#9", "0123abcdef", "deadbeef", "```", "`", "~~~", "</details>", "<script>alert(1)</script>", "<!--",
    "-->", "]]>", "![x](https://evil.example/x.png)", "[x](javascript:alert(1))", "https://evil.example", "www.evil.example", "me@evil.example", "|",
    "\n", "\r\n", "\n\n", "\n/close\n", "&lt;", "&#64;team", "\\", "*", "_", "**", "# head", "- list", "1. one", "> quote", "$x$", ":tada:", "\u202e",
    "\x1b[31m", "\x00", "\u2028", '"', "'", "\ud800", "---", "===", "    indented", "\t", "plain", "words", "é", "日本", "}", "</style>", "</svg>",
    "<b ", " onload=x ", "!1", "~label", "%milestone", "{+", "+}", "[ ]", "~", "+", "",
)  # fmt: skip

texts = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8)), max_size=6).map("".join)
# A lone surrogate cannot be the name of a JSON member.
names = texts.map(lambda text: text.replace("\ud800", ""))
identifiers = st.one_of(st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True), texts.filter(bool))
addresses = st.builds(Address, st.sampled_from(KindName), identifiers)
values: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 99),
    texts,
    st.builds(Ref, addresses),
    st.lists(texts, max_size=3).map(tuple),
    st.dictionaries(names, texts, max_size=2),
)
changes = st.builds(FieldChange, texts.map("/".__add__), values, values, st.booleans(), st.booleans())
# Of a named tuple itself, Hypothesis would also fill in what has a default.
steps = st.builds(partial(Step), texts, texts, st.dictionaries(names, values, max_size=2))
actions = st.builds(
    partial(Action),
    addresses,
    st.sampled_from(Verb),
    st.sampled_from(Reason),
    texts,
    arn=st.one_of(st.none(), texts),
    changes=st.lists(changes, max_size=3).map(tuple),
    steps=st.lists(steps, max_size=2).map(tuple),
    order=st.one_of(st.none(), st.sampled_from(ReplaceOrder)),
    blocked=st.one_of(st.none(), st.builds(Blocked, texts, texts)),
    warnings=st.lists(texts, max_size=2).map(tuple),
)
targets = st.builds(
    lambda name, some, orphans, duplicates, notes, live_channels: a_target(
        *some,
        name=name,
        orphans=tuple(orphans),
        duplicates=tuple(duplicates),
        notes=tuple(notes),
        live_channels=tuple(live_channels),
    ),
    texts,
    st.lists(actions, max_size=6),
    st.lists(st.builds(Orphan, addresses, texts, st.booleans()), max_size=2),
    st.lists(st.builds(Duplicate, addresses, texts, st.lists(texts, max_size=2).map(tuple)), max_size=2),
    st.lists(texts, max_size=2),
    st.lists(st.builds(LiveChannel, addresses, texts, texts, st.integers(-1, 5000), texts), max_size=2),
)
plans = st.builds(
    lambda stack, commit, some: Plan(stack, "", commit, "", PlanOptions(), tuple(some)),
    texts,
    st.one_of(st.none(), texts),
    st.lists(targets, max_size=3),
)
results = st.builds(
    ApplyResult,
    texts,
    st.lists(
        st.builds(partial(Outcome), addresses, st.sampled_from(Verb), st.sampled_from(Result), texts, texts), max_size=6
    ).map(tuple),
    st.booleans(),
    st.integers(0, 99),
    st.floats(0, 99),
)
