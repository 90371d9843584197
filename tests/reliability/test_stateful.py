"""Anything may happen: specs change, colleagues change things outside, calls fail, channels go live, two people apply at once.

What must always hold: what is not ours is never touched, what is protected stays, what is live is not changed,
two applies at once double nothing, and when the trouble is over one apply brings everything to the spec and the next plan is empty.
"""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from reconciler.errors import AwsError
from reconciler.model.address import ID, PROTECT, STACK, KindName
from reconciler.model.resource import DesiredResource, DesiredState
from reconciler.plan.plan import ApplyResult, PlanOptions
from reconciler.sandbox import Sandbox, VirtualClock
from tests.builders import THIS_STACK, desired, refs, wanted
from tests.reliability.world import World, key_pair, worlds_client

CLIENT = worlds_client()
IDS = ("a", "b", "c")
LABELS = ("", "1", "2")
PRUNE = PlanOptions(prune=True)
EFFECTS = ("throttle", "error", "reset", "hang", "html", "truncate")
OPERATIONS = (
    "Create*",
    "Update*",
    "Delete*",
    "TagResource",
    "UntagResource",
    "List*",
    "Get*",
    "BatchGetChannel",
    "ImportPlaybackKeyPair",
    "*",
)


@st.composite
def specs(draw: Callable[..., Any]) -> DesiredState:
    """Draw a small spec: channels with references, keys and protection, and what they refer to."""
    resources: list[DesiredResource] = []
    recording = draw(st.sampled_from((None, 0, 60)))
    if recording is not None:
        resources.append(
            wanted(
                "recording-configuration/archive", {"recordingReconnectWindowSeconds": recording} if recording else {}
            )
        )
    policy = draw(st.sampled_from((None, ["DE"], ["DE", "FR"])))
    if policy is not None:
        resources.append(wanted("playback-restriction-policy/eu", {"allowedCountries": policy}))
    key = draw(st.sampled_from((None, "one", "two")))
    if key is not None:
        resources.append(key_pair("web", key))
    for name in IDS:
        if not draw(st.sampled_from((True, True, True, False))):
            continue
        properties: dict[str, Any] = {"latencyMode": draw(st.sampled_from(("LOW", "NORMAL")))}
        if recording is not None and draw(st.booleans()):
            properties |= refs(recordingConfigurationArn="recording-configuration/archive")
        if policy is not None and draw(st.booleans()):
            properties |= refs(playbackRestrictionPolicyArn="playback-restriction-policy/eu")
        protect = name == "a" and draw(st.booleans())
        resources.append(
            wanted(
                f"channel/{name}",
                properties,
                tags=draw(st.sampled_from(({}, {"team": "video"}, {"team": "news"}))),
                protect=protect,
            )
        )
        if draw(st.booleans()):
            resources.append(wanted(f"stream-key/{name}", protect=protect, rotation=draw(st.sampled_from(LABELS))))
    return desired(*resources)


CHANGE = st.one_of(specs(), st.none())
"""What a merge brings before an apply, if there was one."""


class Account(RuleBasedStateMachine):
    """One account, two people who apply to it from folders of their own, colleagues who use the console, and a service that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.sandbox = Sandbox(serve=False, clock=self.clock, seed=11, settle_seconds=2, stop_seconds=1)
        self.detach = self.sandbox.attach(CLIENT)
        self.folders = tempfile.TemporaryDirectory()
        self.people = [
            World(self.sandbox, self.clock, CLIENT, Path(self.folders.name) / name) for name in ("anna", "ben")
        ]
        for person in self.people:
            person.root.mkdir()
            person.draw = random.Random(person.root.name).random
        self.spec = desired()
        self.unmanaged: dict[str, Any] = {}
        self.live_channels: dict[str, Any] = {}
        self.keys: dict[str, set[str]] = {}
        self.kept: dict[str, Any] = {}
        self.trouble = False

    def teardown(self) -> None:
        self.detach()
        self.sandbox.stop()
        self.folders.cleanup()

    # What is there, as the sandbox has it.

    def status(self) -> dict[str, Any]:
        return {found["arn"]: found for found in self.people[0].everything()}

    def ours(self) -> dict[str, Any]:
        return {arn: found for arn, found in self.status().items() if found["tags"].get(STACK) == THIS_STACK}

    def one_of_the_channels(self, which: int) -> str | None:
        """Return a channel of ours by a number that was drawn before anybody knew how many there are, so that a run can be repeated."""
        channels = sorted(arn for arn in self.ours() if ":channel/" in arn)
        return channels[which % len(channels)] if channels else None

    # What happens.

    @initialize(spec=specs())
    def somebody_elses(self, spec: DesiredState) -> None:
        self.spec = spec
        CLIENT.create_channel(name="a")
        CLIENT.create_channel(name="b", tags={STACK: "other", "ivs-reconciler:id": "b"})
        CLIENT.create_playback_restriction_policy(name="theirs")
        self.unmanaged = self.status()

    @rule(label=st.sampled_from(LABELS))
    def keys_are_due_for_rotation(self, label: str) -> None:
        protected = {address.id for address, resource in self.spec.resources.items() if resource.protect}
        keys = [address for address in self.spec.resources if address.kind is KindName.STREAM_KEY]
        made_anew = [wanted(str(address), protect=address.id in protected, rotation=label) for address in keys]
        self.spec = desired(
            *(resource for address, resource in self.spec.resources.items() if address not in keys), *made_anew
        )

    @rule(
        effect=st.sampled_from(EFFECTS),
        operation=st.sampled_from(OPERATIONS),
        when=st.sampled_from(("before", "after")),
        times=st.integers(1, 4),
    )
    def calls_will_fail(self, effect: str, operation: str, when: str, times: int) -> None:
        self.sandbox.control.add_fault(
            effect, operation=operation, when="after" if effect == "truncate" else when, times=times
        )
        self.trouble = True

    @rule(create=st.sampled_from((0, 5, 12)), delete=st.sampled_from((0, 5, 12)))
    def lists_lag(self, create: int, delete: int) -> None:
        self.sandbox.control.set_lag(create=create, delete=delete)
        self.trouble = True

    @rule(
        which=st.integers(0, 5), what=st.sampled_from(("latency", "tag", "untag", "delete", "key", "copy", "policies"))
    )
    def a_colleague_changes_something(self, which: int, what: str) -> None:
        arn = self.one_of_the_channels(which)
        if arn is None or arn in self.live_channels or (what == "delete" and arn in self.kept):
            return
        self.calm_down()
        if what == "latency":
            CLIENT.update_channel(arn=arn, latencyMode="NORMAL")
        elif what == "tag":
            CLIENT.tag_resource(resourceArn=arn, tags={"team": "console"})
        elif what == "untag":
            CLIENT.untag_resource(resourceArn=arn, tagKeys=["team"])
        elif what == "key":
            for key in CLIENT.list_stream_keys(channelArn=arn)["streamKeys"]:
                CLIENT.delete_stream_key(arn=key["arn"])
        elif what == "copy" and self.ours()[arn]["tags"].get(PROTECT) != "true":
            there = CLIENT.get_channel(arn=arn)["channel"]
            CLIENT.create_channel(name=there["name"], latencyMode=there["latencyMode"], tags=there["tags"])
        elif what == "policies":
            for policy in (found for found in self.ours() if ":playback-restriction-policy/" in found):
                CLIENT.update_playback_restriction_policy(arn=policy, allowedCountries=["US"])
        elif what == "delete":
            CLIENT.delete_channel(arn=arn)

    @rule(which=st.integers(0, 5))
    def a_channel_goes_on_air(self, which: int) -> None:
        self.calm_down()
        arn = self.one_of_the_channels(which)
        keys = {key["arn"] for key in CLIENT.list_stream_keys(channelArn=arn)["streamKeys"]} if arn else set()
        if arn is None or arn in self.live_channels or not keys:
            return
        self.sandbox.control.go_live(arn, viewers=7)
        self.keys[arn] = keys
        self.live_channels[arn] = self.needed_on_air(arn)

    @rule()
    def broadcasts_end(self) -> None:
        for arn in self.live_channels:
            self.sandbox.control.go_offline(arn)
        self.live_channels.clear()
        self.clock.advance(3)

    @rule(who=st.integers(0, 1), prune=st.booleans(), spec=CHANGE)
    def somebody_applies(self, who: int, prune: bool, spec: DesiredState | None) -> None:
        self.spec = spec or self.spec
        self.note_protected()
        self.applied(who, PlanOptions(prune=prune))

    @rule(prune=st.booleans(), spec=CHANGE)
    def both_apply_at_once(self, prune: bool, spec: DesiredState | None) -> None:
        self.spec = spec or self.spec
        self.note_protected()
        together = threading.Barrier(2, timeout=60)

        def apply(who: int) -> ApplyResult | None:
            together.wait()
            return self.applied(who, PlanOptions(prune=prune))

        before = self.status().keys()
        with ThreadPoolExecutor(2) as pool:
            results = [done.result() for done in [pool.submit(apply, who) for who in (0, 1)]]
        # Lost answers or not: who says that all was done, has not made it twice. An old one may stay beside its replacement while something uses it.
        if all(result is None or result.complete for result in results):
            made = Counter(
                (arn.split(":")[5].partition("/")[0], found["tags"][ID])
                for arn, found in self.ours().items()
                if arn not in before
            )
            assert made == dict.fromkeys(made, 1)

    @rule()
    def the_trouble_ends(self) -> None:
        """One apply by one person is enough, and the plan after it is empty."""
        self.calm_down()
        self.broadcasts_end()
        self.clock.advance(31)
        self.note_protected()
        survey = self.people[0].survey(self.spec, PRUNE)
        replaced = {
            action.address
            for action in survey.plan.actions
            if any("is kept after its replacement" in warning for warning in action.warnings)
        }
        result = self.people[0].carry_out(survey)
        blocked = (
            {outcome.address for outcome in result.outcomes if outcome.result.value == "blocked"} if result else set()
        )
        left = self.people[0].survey(self.spec, PRUNE).plan.actions
        # What cannot go because it is protected stays in every plan, and so does what it uses.
        assert all(action.blocked for action in left), left
        assert {action.address for action in left if action.address not in replaced} <= blocked
        stays = {address for address, count in self.people[0].status().items() if address not in self.spec.resources}
        assert stays == {
            action.address
            for action in left
            if action.address not in self.spec.resources and action.address.kind.value != "stream-key"
        } | {address for address in stays if address.kind.value == "stream-key"}
        for address in self.spec.resources.keys() - {action.address for action in left}:
            assert self.people[0].status()[address] == 1, address

    # Helpers.

    def applied(self, who: int, options: PlanOptions) -> ApplyResult | None:
        """Apply as one of the two; a failed reading is a failed run, and anything but ``AwsError`` is a bug."""
        try:
            return self.people[who].apply(self.spec, options)
        except AwsError:
            assert self.trouble, "an undisturbed account could not be read"
            return None

    def calm_down(self) -> None:
        self.sandbox.control.clear_faults()
        self.sandbox.control.set_lag()
        self.trouble = False

    def needed_on_air(self, channel: str) -> Any:
        """Return what a broadcast needs: the channel as it is, and its stream key."""
        there = self.status()
        return there[channel]["digest"], self.keys[channel] & there.keys()

    def note_protected(self) -> None:
        """Record what is protected now, and must stay so after any apply."""
        self.kept = {
            arn: True
            for arn, found in self.ours().items()
            if found["tags"].get(PROTECT) == "true" and ":channel/" in arn
        }

    # What must hold.

    @invariant()
    def nobody_else_is_touched(self) -> None:
        status = self.status()
        assert {arn: status.get(arn) for arn in self.unmanaged} == self.unmanaged

    @invariant()
    def what_is_protected_stays(self) -> None:
        assert self.kept.keys() <= self.status().keys()

    @invariant()
    def what_is_on_air_is_left_alone(self) -> None:
        for arn, needed in self.live_channels.items():
            assert self.needed_on_air(arn) == needed


@pytest.mark.slow
def test_every_sequence_of_events_ends_well() -> None:
    run_state_machine_as_test(
        Account,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
