"""What holds for any two states, found by trying many."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.drift.classify import classify
from reconciler.model.address import ID, PROTECT, SPEC, STACK, Address, KindName
from reconciler.model.kinds import KINDS, QUOTAS, AppliedQuotas
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState, Stream
from reconciler.model.target import Guardrails, OnLive
from reconciler.model.values import Ref
from reconciler.plan.codec import dumps, fingerprint, lines, read_plan
from reconciler.plan.decide import build_plan
from reconciler.plan.guardrails import quota_refusals, quota_uses, with_quotas
from reconciler.plan.live_channels import Broadcasts, LiveRules, with_live_channels
from reconciler.plan.plan import Plan, PlanOptions, TargetPlan, Verb
from reconciler.plan.stale import AppliedSpec, as_applied, changes_since_plan
from tests.builders import THIS_STACK, arn, desired, live, of, unowned, wanted
from tests.plan.service import Service, any_order, in_order

IDS = ("one", "two", "three")
TRIED = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EVERYTHING = PlanOptions(prune=True)
EITHER = st.sampled_from([PlanOptions(), EVERYTHING])


# Made once: to make and validate strategies in each example would take as long as the draws.
BOOLEANS = st.booleans()
OWN_FIELDS: dict[KindName, dict[str, st.SearchStrategy[Any]]] = {
    KindName.RECORDING_CONFIGURATION: {
        "recordingReconnectWindowSeconds": st.sampled_from([0, 60]),
        "thumbnailConfiguration": st.sampled_from(
            [{"recordingMode": "DISABLED"}, {"recordingMode": "INTERVAL", "targetIntervalSeconds": 30}]
        ),
        "renditionConfiguration": st.sampled_from(
            [{"renditionSelection": "NONE"}, {"renditionSelection": "CUSTOM", "renditions": ["HD", "SD"]}]
        ),
    },
    KindName.FAILOVER_SLATE_CONFIGURATION: {
        "activationThresholdSeconds": st.integers(3, 5),
        "maxSlateDisplaySeconds": st.sampled_from([60, 90]),
    },
    KindName.PLAYBACK_KEY_PAIR: {"name": st.sampled_from(["player", "web"])},
    KindName.PLAYBACK_RESTRICTION_POLICY: {
        "allowedCountries": st.lists(st.sampled_from(["DE", "FR", "JP"])),
        "enableStrictOriginEnforcement": BOOLEANS,
    },
    KindName.AD_CONFIGURATION: {
        "postRollConfiguration": st.sampled_from(
            [{"enabled": False, "durationSeconds": 15}, {"enabled": True, "durationSeconds": 30}]
        )
    },
    KindName.CHANNEL: {
        "latencyMode": st.sampled_from(["LOW", "NORMAL"]),
        "authorized": BOOLEANS,
        "insecureIngest": BOOLEANS,
    },
    KindName.STREAM_KEY: {},
}
SHAPES = st.sampled_from(["standard", "advanced", "multitrack", "fragmented"])
ADVANCED_TYPES = st.sampled_from(["ADVANCED_SD", "ADVANCED_HD"])
PRESETS = st.sampled_from(["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"])
RESOLUTIONS = st.sampled_from(["HD", "FULL_HD"])
SOME_IDS = st.lists(st.sampled_from(IDS), unique=True, max_size=3)
OWN_TAGS: dict[str, st.SearchStrategy[Any]] = {"team": st.sampled_from(["video", "audio"]), "event": st.just("keynote")}
IGNORED = st.sampled_from([(), (), (), ("latencyMode",), ("tags/team",)])
ONE_IN_EIGHT = st.integers(0, 7)
STRAY_TAGS: st.SearchStrategy[dict[str, str | None]] = st.sampled_from(
    [{}, {}, {"stray": "1"}, {SPEC: "before"}, {STACK: "other"}, {STACK: None}, {PROTECT: "true"}]
)
STATES = st.sampled_from(["CREATING", "CREATE_FAILED"])
ONE_IN_SIX, ONE_IN_TEN = st.integers(0, 5), st.integers(0, 9)
KEYS = st.sampled_from(["untagged", "ours", "theirs"])


def _maybe(draw: Callable[[Any], Any], fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    return {name: draw(values) for name, values in fields.items() if draw(BOOLEANS)}


def properties_of(
    draw: Callable[[Any], Any], kind: KindName, there: frozenset[Address] = frozenset()
) -> dict[str, Any]:
    """Draw properties of a kind that keep the rules the spec would have been held to; references only to what is there."""
    chosen = _maybe(draw, OWN_FIELDS[kind])
    return _channel(draw, chosen, there) if kind is KindName.CHANNEL else chosen


def _channel(draw: Callable[[Any], Any], chosen: dict[str, Any], there: frozenset[Address]) -> dict[str, Any]:
    for field in KINDS[KindName.CHANNEL].fields:
        targets = sorted(address for address in there if address.kind is field.references)
        if targets and draw(BOOLEANS):
            chosen[field.name] = Ref(draw(st.sampled_from(targets)))
    shape = draw(SHAPES)
    if shape == "advanced":
        chosen["type"] = draw(ADVANCED_TYPES)
        chosen.update(_maybe(draw, {"preset": PRESETS}))
    elif shape != "standard":
        chosen["containerFormat"] = "FRAGMENTED_MP4"
        chosen.pop("adConfigurationArn", None)
        if shape == "multitrack":
            chosen["multitrackInputConfiguration"] = {
                "enabled": True,
                "policy": "ALLOW",
                "maximumResolution": draw(RESOLUTIONS),
            }
    return chosen


@st.composite
def specs(draw: Callable[[Any], Any], *, letters: str = "") -> DesiredState:
    """A spec: some of three ids of each kind, wired to one another. ``letters`` tells the public keys of one spec from another's."""
    resources: list[DesiredResource] = []
    there: set[Address] = set()
    endings = st.sampled_from(["", letters])
    for kind in KINDS:
        for identifier in draw(SOME_IDS):
            address = Address(kind, identifier)
            if kind is KindName.STREAM_KEY and Address(KindName.CHANNEL, identifier) not in there:
                continue
            there.add(address)
            properties = properties_of(draw, kind, frozenset(there))
            if kind is KindName.PLAYBACK_KEY_PAIR:
                properties["fingerprint"] = f"{identifier}{draw(endings)}"
            tags = _maybe(draw, OWN_TAGS)
            ignore = draw(IGNORED) if kind is KindName.CHANNEL else ()
            resources.append(
                wanted(str(address), properties, tags=tags, ignore=ignore, protect=draw(ONE_IN_EIGHT) == 0)
            )
    return desired(*resources)


@st.composite
def situations(draw: Callable[[Any], Any]) -> tuple[DesiredState, LiveState]:
    """A spec, and what is live: an earlier spec applied, some of it lost, doubled, retagged or changed by hand, and strangers beside it."""
    earlier, spec = draw(specs(letters="-x")), draw(specs())
    resources: list[LiveResource] = []
    for resource in earlier.resources.values():
        if resource.address.kind is KindName.STREAM_KEY:
            continue
        changed: dict[str, Any] = {}
        if resource.address.kind is KindName.CHANNEL and draw(BOOLEANS):
            changed["authorized"] = draw(BOOLEANS)
        tags = draw(STRAY_TAGS)
        state = draw(STATES) if KINDS[resource.address.kind].ready and draw(ONE_IN_SIX) == 0 else None
        resources.append(of(resource, changed=changed, tags=tags, state=state))
        quota = KINDS[resource.address.kind].quota
        is_scarce = quota is not None and quota.default <= 3
        if not is_scarce and draw(ONE_IN_TEN) == 0:
            resources.append(of(resource, suffix="-again"))
    arns = {resource.arn for resource in resources}
    # References of what is live are to what is live: the service holds them together.
    for channel in [resource for resource in resources if resource.kind is KindName.CHANNEL]:
        key = draw(KEYS)
        identifier = channel.arn.rpartition("/")[2]
        tags = {
            "ours": wanted(f"stream-key/{identifier.removesuffix('-again')}").tags,
            "theirs": {STACK: "other"},
            "untagged": {},
        }[key]
        resources.append(
            LiveResource(KindName.STREAM_KEY, arn(f"stream-key/{identifier}"), {"channelArn": channel.arn}, tags)
        )
    assert all(
        value in arns
        for resource in resources
        for name, value in resource.properties.items()
        if name in ("recordingConfigurationArn",)
    )
    if draw(BOOLEANS):
        resources.append(unowned("channel/theirs"))
    return spec, live(*resources)


def plan_of(spec: DesiredState, now: LiveState, options: PlanOptions = EVERYTHING) -> TargetPlan:
    return build_plan(spec, now, options, target_name="prod")


def agreeing(spec: DesiredState) -> LiveState:
    return live(*(of(resource) for resource in spec.resources.values()))


@TRIED
@given(specs())
def test_equal_states_give_an_empty_plan(spec: DesiredState) -> None:
    plan = plan_of(spec, agreeing(spec))
    assert plan.actions == ()
    assert plan.summary.unchanged == len(spec.resources)
    report = classify(plan, spec, agreeing(spec))
    assert (report.drifted, report.pending) == (False, False)


@TRIED
@given(situations(), EITHER)
def test_a_plan_makes_live_what_is_desired_and_leaves_nothing_for_the_next(
    situation: tuple[DesiredState, LiveState], options: PlanOptions
) -> None:
    spec, now = situation
    plan = plan_of(spec, now, options)
    if quota_refusals(quota_uses(plan.actions, plan.managed, now, AppliedQuotas())):
        return
    service = Service(now)
    after = service.run(plan)
    following = plan_of(spec, after, options)
    assert [action for action in following.actions if action.blocked is None] == []
    blocked = {action.address for action in following.actions}
    ours = {
        resource.arn: resource
        for group in after.resources.values()
        for resource in group
        if resource.tags.get(STACK) == THIS_STACK
    }
    for address, resource in spec.resources.items():
        if address not in blocked and address.kind is not KindName.STREAM_KEY:
            matching = [
                one
                for one in ours.values()
                if one.kind is address.kind and one.tags.get("ivs-reconciler:id") == address.id
            ]
            assert matching
            assert any(one.tags.get(SPEC) == resource.digest for one in matching)


@TRIED
@given(situations())
def test_no_unmanaged_resource_is_changed(situation: tuple[DesiredState, LiveState]) -> None:
    spec, now = situation
    plan = plan_of(spec, now)
    ours_by_channel = {channel.arn for channel in now.of(KindName.CHANNEL) if channel.tags.get(STACK) == THIS_STACK}
    unmanaged = {
        resource.arn
        for group in now.resources.values()
        for resource in group
        if resource.tags.get(STACK) != THIS_STACK
        and not (STACK not in resource.tags and resource.properties.get("channelArn") in ours_by_channel)
    }
    for action in plan.actions:
        for step in action.steps:
            reads = step.operation.startswith("Get")
            assert reads or not {step.parameters.get("arn"), step.parameters.get("resourceArn")} & unmanaged
        assert action.blocked is not None or action.arn not in unmanaged


@TRIED
@given(
    situations(),
    st.sampled_from([(), ("channel/*",), ("recording-configuration/*", "*/two")]),
    st.sampled_from([(), ("*/one",)]),
)
def test_dependencies_come_first_and_every_selection_can_be_run(
    situation: tuple[DesiredState, LiveState], only: tuple[str, ...], exclude: tuple[str, ...]
) -> None:
    spec, now = situation
    plan = plan_of(spec, now, PlanOptions(prune=True, only=only, exclude=exclude))
    steps = in_order(plan.actions)
    place = {step.id: index for index, step in enumerate(steps)}
    assert len(place) == len(steps), "a step's id is not its own"
    assert all(place[needed] < place[step.id] for step in steps for needed in step.after)
    assert not any(action.steps for action in plan.actions if action.blocked)
    ranks = [KINDS[action.address.kind].rank for action in plan.actions if action.verb is not Verb.DELETE]
    falling = [KINDS[action.address.kind].rank for action in plan.actions if action.verb is Verb.DELETE]
    assert ranks == sorted(ranks)
    assert falling == sorted(falling, reverse=True)
    if not any("is used up" in warning for action in plan.actions for warning in action.warnings):
        Service(now).run(plan)


@TRIED
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_come_does_not_show(
    situation: tuple[DesiredState, LiveState], chance: random.Random
) -> None:
    spec, now = situation
    resources = list(spec.resources.items())
    groups = [(kind, chance.sample(group, len(group))) for kind, group in now.resources.items()]
    chance.shuffle(resources)
    chance.shuffle(groups)
    shuffled = plan_of(
        DesiredState(spec.stack, dict(resources), spec.digest),
        LiveState(now.account_id, now.region, {kind: tuple(group) for kind, group in groups}),
    )
    plan = plan_of(spec, now)
    assert fingerprint(shuffled) == fingerprint(plan)
    texts = [dumps(Plan(THIS_STACK, "now", None, "sha256:0", EVERYTHING, (one,))) for one in (plan, shuffled)]
    assert texts[0] == texts[1]


@TRIED
@given(situations())
def test_a_plan_survives_json_and_holds_no_private_key(situation: tuple[DesiredState, LiveState]) -> None:
    spec, now = situation
    plan = Plan(THIS_STACK, "2026-11-20T10:00:00Z", "abc", "sha256:0", EVERYTHING, (plan_of(spec, now),))
    text = dumps(plan)
    assert read_plan([text]) == plan
    assert "PRIVATE" not in text


@TRIED
@given(situations())
def test_a_plan_is_valid_until_it_is_applied_and_stale_after(situation: tuple[DesiredState, LiveState]) -> None:
    spec, now = situation
    plan = plan_of(spec, now)
    assert changes_since_plan(plan, spec, now) == ()
    if any("is used up" in warning for action in plan.actions for warning in action.warnings):
        return
    after = Service(now).run(plan)
    assert bool(changes_since_plan(plan, spec, after)) == any(action.steps for action in plan.actions)


@TRIED
@given(situations())
def test_drift_is_reported_when_and_only_when_something_differs(situation: tuple[DesiredState, LiveState]) -> None:
    spec, now = situation
    plan = plan_of(spec, now)
    report = classify(plan, spec, now)
    # A duplicate that is protected is drift, and stays: no action deletes it.
    assert (report.drifted or report.pending) == bool(plan.actions or plan.duplicates)


@TRIED
@given(situations(), st.integers(0, 2), st.integers(0, 2), st.integers(0, 1000))
def test_a_plan_that_is_not_refused_fits_the_quotas_in_any_order_of_its_steps(
    situation: tuple[DesiredState, LiveState], channels: int, recordings: int, seed: int
) -> None:
    spec, now = situation
    room = {KindName.CHANNEL: channels, KindName.RECORDING_CONFIGURATION: recordings}
    applied = AppliedQuotas({QUOTAS[kind].code: len(now.of(kind)) + more for kind, more in room.items()})
    plan = build_plan(spec, now, EVERYTHING, target_name="prod", limits=applied.limits)
    plan = with_quotas(plan, now, applied)
    if quota_refusals(plan.quotas):
        return
    chance = random.Random(seed)
    counts = {kind: len(now.of(kind)) for kind in QUOTAS}
    makes, takes = ({getattr(KINDS[kind], what): kind for kind in QUOTAS} for what in ("create", "delete"))
    for step in any_order(plan.actions, chance):
        if step.operation in makes:
            kind = makes[step.operation]
            counts[kind] += 1
            assert counts[kind] <= applied.limits[kind], f"{step.id} is one too many"
        elif step.operation in takes:
            counts[takes[step.operation]] -= 1
    assert {use.kind: use.after for use in plan.quotas} == {use.kind: counts[use.kind] for use in plan.quotas}


@TRIED
@given(situations(), st.data())
def test_no_broadcast_is_touched_but_those_that_were_named_and_their_channels_have_a_key_in_the_end(
    situation: tuple[DesiredState, LiveState], data: st.DataObject
) -> None:
    spec, now = situation
    channels = now.of(KindName.CHANNEL)
    live_channels = [channel for channel in channels if data.draw(st.booleans())]
    streams = {channel.arn: Stream(channel.arn, "2026-11-20T08:00:00Z", 3) for channel in live_channels}
    named = frozenset(f"channel/{identifier}" for identifier in IDS if data.draw(st.booleans()))
    keys: dict[str, tuple[LiveResource, ...]] = {}
    for key in now.of(KindName.STREAM_KEY):
        keys[str(key.properties["channelArn"])] = (key,)
    rules = LiveRules.of(
        Guardrails(on_live=data.draw(st.sampled_from(OnLive))), PlanOptions(stop_live=tuple(named)), spec.resources
    )
    plan = with_live_channels(plan_of(spec, now), now, rules, Broadcasts(streams, keys))
    plan = with_quotas(plan, now, AppliedQuotas())
    assert read_plan(lines(Plan(spec.stack, "", None, "sha256:0", EVERYTHING, (plan,)))).targets == (plan,)
    ids = [step.id for action in plan.actions for step in action.steps]
    assert len(set(ids)) == len(ids), "a step's id is not its own"
    if quota_refusals(plan.quotas):
        return
    service = Service(now, streams)
    after = service.run(
        plan, random.Random(data.draw(st.integers(0, 1000)))
    )  # raises where a live channel would be touched, or stopped with its key still there
    ended = set(streams) - service.streams
    owners = {channel.arn: channel for channel in channels}
    for arn_of_ended in ended:
        channel = owners[arn_of_ended]
        assert channel.tags[STACK] == THIS_STACK
        if rules.on_live is not OnLive.WAIT:
            assert f"channel/{channel.tags['ivs-reconciler:id']}" in named
            assert channel.tags.get(PROTECT) != "true"
    left = {arn: stream for arn, stream in streams.items() if arn in service.streams}
    keyed = {str(key.properties["channelArn"]) for key in after.of(KindName.STREAM_KEY)}
    for channel in after.of(KindName.CHANNEL):
        identifier = channel.tags.get("ivs-reconciler:id", "")
        if channel.arn in ended and Address(KindName.STREAM_KEY, identifier) in spec.resources:
            assert channel.arn in keyed
    keys_after: dict[str, tuple[LiveResource, ...]] = {}
    for key in after.of(KindName.STREAM_KEY):
        keys_after[str(key.properties["channelArn"])] = (key,)
    following = with_live_channels(plan_of(spec, after), after, rules, Broadcasts(left, keys_after))
    assert [action for action in following.actions if action.blocked is None] == []


def renamed(spec: DesiredState) -> DesiredState:
    """Return a spec with other ids and the moves to them; names stay."""
    new = {address: Address(address.kind, f"x-{address.id}") for address in spec.resources}
    resources = {
        new[address]: resource._replace(
            address=new[address],
            tags={**resource.tags, ID: new[address].id},
            properties={
                name: Ref(new[value.address]) if isinstance(value, Ref) else value
                for name, value in resource.properties.items()
            },
        )
        for address, resource in spec.resources.items()
    }
    moved = {old: there for old, there in new.items() if old.kind is not KindName.STREAM_KEY}
    return spec._replace(resources=resources, moved=moved)


@TRIED
@given(specs(), st.booleans())
def test_a_rename_of_everything_rewrites_tags_alone_and_so_does_forgetting_everything(
    spec: DesiredState, prune: bool
) -> None:
    now, options = agreeing(spec), PlanOptions(prune=prune)
    forgetting = spec._replace(resources={}, forget=frozenset(spec.resources))
    for state, operation in ((renamed(spec), "TagResource"), (forgetting, "UntagResource")):
        plan = plan_of(state, now, options)
        assert {step.operation for action in plan.actions for step in action.steps} <= {operation}
        assert not any(action.blocked for action in plan.actions)
        assert len(plan.actions) == len(spec.resources)
        after = Service(now).run(plan)
        assert plan_of(state, after, options).actions == ()
        assert plan_of(state._replace(moved={}, forget=frozenset()), after, options).actions == ()
        owners = {one.tags.get(STACK) for group in after.resources.values() for one in group}
        assert owners == (set() if not spec.resources else {None} if state is forgetting else {THIS_STACK})


@TRIED
@given(situations(), EITHER)
def test_a_rename_deletes_and_creates_nothing_that_the_same_plan_under_the_old_ids_would_not(
    situation: tuple[DesiredState, LiveState], options: PlanOptions
) -> None:
    spec, now = situation
    plan, moving = plan_of(spec, now, options), plan_of(renamed(spec), now, options)

    def doing(target: TargetPlan, verb: Verb) -> list[str]:
        found = [action for action in target.actions if action.verb is verb and action.blocked is None]
        return sorted(action.arn or f"{action.kind}/{action.address.id.removeprefix('x-')}" for action in found)

    stuck = any(action.blocked and action.blocked.code == "moved" for action in moving.actions)
    for verb in (Verb.DELETE, Verb.CREATE):
        assert set(doing(moving, verb)) <= set(doing(plan, verb))
        assert stuck or doing(moving, verb) == doing(plan, verb)
    if quota_refusals(quota_uses(moving.actions, moving.managed, now, AppliedQuotas())):
        return
    after = Service(now).run(moving)
    assert [action for action in plan_of(renamed(spec), after, options).actions if action.blocked is None] == []


@TRIED
@given(specs(), st.booleans())
def test_a_return_to_what_was_last_applied_neither_renames_nor_forgets(spec: DesiredState, is_recorded: bool) -> None:
    now = agreeing(spec)
    records = {
        address: AppliedSpec(one.digest, one.properties, one.tags, "", one.ignore)
        for address, one in spec.resources.items()
        if is_recorded
    }
    for pending in (renamed(spec), spec._replace(resources={}, forget=frozenset(spec.resources))):
        assert plan_of(as_applied(pending, now, records), now, PlanOptions()).actions == ()
