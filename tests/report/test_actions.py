"""Identical resources are one block with a count; deletes and replacements are never folded."""

from __future__ import annotations

from reconciler.diff import FieldChange
from reconciler.model.address import Address, KindName
from reconciler.model.values import Ref
from reconciler.plan.plan import Action, Blocked, Verb
from reconciler.report import markdown, text
from reconciler.report.actions import FOLD_FROM, fold_actions, shared_tags
from reconciler.report.words import notable_changes

from .makers import a_plan, a_target, added, an_action


def a_camera(number: int, latency: str = "LOW") -> Action:
    name = f"cam-{number:02}"
    return an_action(
        Verb.CREATE,
        f"channel/{name}",
        added("/name", name),
        added("/latencyMode", latency),
        added("/tags/team", "video"),
    )


def test_sixty_identical_creates_are_one_block_with_the_count() -> None:
    shown = text.render_target(a_target(*(a_camera(number) for number in range(60))))
    assert shown.count("will be created") == 1
    assert (
        "+ 60 channels will be created\n        cam-00, cam-01, cam-02, cam-03, cam-04, cam-05 and 54 more (-v lists them)"
        in shown
    )
    assert '+ latencyMode  "LOW"' in shown
    assert "+ name" not in shown, "the name is the id"
    assert shown.count("team") == 1


def test_three_identical_creates_are_shown_one_by_one() -> None:
    shown = text.render_target(a_target(*(a_camera(number) for number in range(FOLD_FROM - 1))))
    assert shown.count("will be created") == FOLD_FROM - 1
    assert 'on all 3 created resources: tags.team "video"' in shown


def test_verbose_shows_every_action_with_its_tags() -> None:
    shown = text.render_target(a_target(*(a_camera(number) for number in range(60))), calls=True)
    assert shown.count("will be created") == 60
    assert shown.count('tags.team    "video"') == 60


def test_what_differs_is_a_block_of_its_own() -> None:
    actions = [a_camera(number, "NORMAL" if number == 7 else "LOW") for number in range(20)]
    groups = fold_actions(actions)
    assert sorted(len(group) for group in groups) == [1, 19]
    shown = text.render_target(a_target(*actions))
    assert "+ 19 channels will be created" in shown
    assert "+ channel/cam-07 will be created" in shown


def test_deletes_and_replacements_are_never_folded() -> None:
    actions = [an_action(verb, f"channel/{verb}-{n}") for verb in (Verb.DELETE, Verb.REPLACE) for n in range(30)]
    assert all(len(group) == 1 for group in fold_actions(actions))
    shown = text.render_target(a_target(*actions))
    assert all(str(action.address) in shown for action in actions)


def test_a_reference_to_the_own_id_folds_and_one_to_another_does_not() -> None:
    def key_of(name: str, channel: str) -> Action:
        reference = Ref(Address(KindName.CHANNEL, channel))
        return an_action(Verb.CREATE, f"stream-key/{name}", added("/channelArn", reference))

    own = [key_of(f"cam-{n}", f"cam-{n}") for n in range(5)]
    assert [len(group) for group in fold_actions(own)] == [5]
    others = [key_of(f"cam-{n}", f"cam-{n + 1}") for n in range(5)]
    assert [len(group) for group in fold_actions(others)] == [1] * 5
    assert "(known after apply: channel/…)" in text.render_target(a_target(*own))


def test_identical_updates_fold_and_keep_both_sides() -> None:
    change = FieldChange("/latencyMode", "LOW", "NORMAL")
    shown = text.render_target(a_target(*(an_action(Verb.UPDATE, f"channel/x-{n}", change) for n in range(9))))
    assert "~ 9 channels will be updated in place" in shown
    assert '~ latencyMode  "LOW" -> "NORMAL"' in shown


def test_a_tag_that_one_created_resource_lacks_is_not_shared() -> None:
    tagged, bare = a_camera(1), an_action(Verb.CREATE, "channel/bare", added("/name", "bare"))
    assert shared_tags([tagged, a_camera(2)]) == {"/tags/team": "video"}
    assert shared_tags([tagged, bare]) == {}
    assert shared_tags([tagged]) == {}


def test_a_blocked_create_is_not_counted_as_created_and_shows_its_tags() -> None:
    blocked = a_camera(3)._replace(blocked=Blocked("unmanaged", "adopt it"))
    shown = text.render_target(a_target(a_camera(1), a_camera(2), blocked))
    assert "channel/cam-03 would be created" in shown
    assert 'on both created resources: tags.team "video"' in shown
    assert shown.count("team") == 2, "once for both, and once in the blocked one"
    page = markdown.render_plan(a_plan(a_target(a_camera(1), a_camera(2), blocked)))
    assert 'On both created resources: `tags.team "video"`' in page


def test_markdown_folds_the_same_groups_and_counts_all_members_when_cut() -> None:
    target = a_target(*(a_camera(number) for number in range(60)))
    whole = markdown.render_targets(target)
    assert "<code>60 channels</code> will be created" in whole
    assert whole.count("<details>") == 1
    cut = markdown.render_targets(target, limit=500)
    assert len(cut.encode()) <= 500
    assert "60" in cut


def test_a_blocked_replacement_is_not_said_to_be_needed() -> None:
    ready = an_action(Verb.REPLACE, "recording-configuration/archive")
    blocked = ready._replace(blocked=Blocked("live", "apply again when the stream has ended"))
    assert text.render_target(a_target(ready)).count("must be replaced: created, then deleted") == 1
    assert "would be replaced: created, then deleted" in text.render_target(a_target(blocked))


def test_a_group_whose_actions_are_all_listed_above_says_how_many() -> None:
    rotated = an_action(Verb.REPLACE, "stream-key/main")
    (replaced, keys) = notable_changes(a_target(rotated))
    assert (replaced.title, keys.title) == ("To replace: 1", "Stream keys and key pairs: 1, listed above")


def test_resources_of_a_kind_that_could_not_be_read_are_one_block() -> None:
    """Whatever fields they have: it is unknown whether they exist."""
    why = Blocked("unreadable", "channels could not be read (missing permission ivs:ListChannels)")
    cameras = [a_camera(number)._replace(blocked=why) for number in range(9)]
    odd = an_action(Verb.CREATE, "channel/odd", added("/name", "odd"), added("/type", "BASIC"))._replace(blocked=why)
    shown = text.render_target(a_target(*cameras, odd))
    assert "+ 10 channels would be created" in shown
    assert shown.count("could not be read") == 1
    assert "team" not in shown
    assert "BASIC" in text.render_target(a_target(*cameras, odd), calls=True)
