from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import HealthCheck, settings

from reconciler.diff import FieldChange
from reconciler.model.address import Address, KindName
from reconciler.model.values import Ref
from reconciler.plan.plan import Observed, Step, TargetPlan, Verb
from reconciler.report import html

from .makers import a_big_target, a_plan, a_target, an_action, an_arn, the_small_target

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
ARCHIVE = Address(KindName.RECORDING_CONFIGURATION, "archive")
MAIN = Address(KindName.CHANNEL, "main")


def picture_of(target: TargetPlan) -> str:
    (picture,) = re.findall("<svg.*</svg>", html.render_plan(a_plan(target)), re.DOTALL)
    return str(picture)


def test_a_reference_in_a_change_is_an_edge_from_what_is_needed() -> None:
    target = a_target(
        an_action(Verb.UPDATE, str(MAIN), FieldChange("/recordingConfigurationArn", "", Ref(ARCHIVE))),
        an_action(Verb.CREATE, str(ARCHIVE)),
    )
    assert html.edges(target) == ((ARCHIVE, MAIN),)


def test_an_arn_of_the_live_resource_or_of_a_call_is_an_edge_too() -> None:
    arn = an_arn(KindName.RECORDING_CONFIGURATION, "Old")
    observed = Observed({"recordingConfigurationArn": arn}, {})
    target = a_target(
        an_action(Verb.REPLACE, str(ARCHIVE), arn=arn),
        an_action(Verb.UPDATE, str(MAIN), observed=observed),
        an_action(Verb.UPDATE, "channel/side", steps=(Step("s", "UpdateChannel", {"deep": {"list": (arn,)}}),)),
    )
    assert html.edges(target) == ((ARCHIVE, MAIN), (ARCHIVE, Address(KindName.CHANNEL, "side")))


def test_a_stream_key_needs_the_channel_of_its_id() -> None:
    target = a_target(
        an_action(Verb.CREATE, "channel/main"),
        an_action(Verb.CREATE, "stream-key/main"),
        an_action(Verb.CREATE, "stream-key/other"),
    )
    assert html.edges(target) == ((MAIN, Address(KindName.STREAM_KEY, "main")),)


def test_a_resource_that_the_plan_does_not_touch_has_no_edge() -> None:
    assert (
        html.edges(
            a_target(an_action(Verb.UPDATE, str(MAIN), FieldChange("/recordingConfigurationArn", "", Ref(ARCHIVE))))
        )
        == ()
    )


def test_a_small_plan_is_drawn_resource_by_resource_without_overlap() -> None:
    target = the_small_target()
    picture = picture_of(target)
    places = sorted((int(x), int(y)) for x, y in re.findall(r"translate\((\d+) (\d+)\)", picture))
    assert len(places) == len(target.actions)
    assert all(left != right or below - above >= 34 for (left, above), (right, below) in pairwise(places))
    assert picture.count('class="tie"') == len(html.edges(target))


def test_a_large_plan_is_drawn_as_kinds_with_counts() -> None:
    target = a_big_target(500)
    picture = picture_of(target)
    assert picture.count('class="node"') == 3
    assert ">400</text>" not in picture
    assert 'aria-label="Dependency graph by kind: 500 resources, 200 dependencies"' in picture
    assert len(picture) < 5_000
