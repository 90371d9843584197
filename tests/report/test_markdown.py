from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.diff import FieldChange
from reconciler.plan.plan import ApplyResult, Blocked, Plan, TargetPlan, Verb
from reconciler.report import markdown
from reconciler.report.markdown_layout import code, fenced, link, prose

from .forge import is_harmless
from .golden import matches_golden
from .makers import (
    a_big_target,
    a_plan,
    a_result,
    a_target,
    an_action,
    plans,
    results,
    targets,
    texts,
    the_small_result,
    the_small_target,
)

GITHUB = 65_536
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def test_a_small_plan_looks_as_it_did() -> None:
    assert matches_golden("plan.md", markdown.render_plan(a_plan(the_small_target(), a_target(name="dev"))))


def test_a_result_looks_as_it_did() -> None:
    assert matches_golden("result.md", markdown.render_results(the_small_result()))


def test_a_cut_plan_looks_as_it_did() -> None:
    assert matches_golden(
        "plan-cut.md",
        markdown.render_targets(the_small_target(), limit=3_000, artefact_url="https://example.com/runs/7"),
    )


def test_an_empty_target_says_no_changes() -> None:
    assert "**No changes (41 resources, 3 unmanaged)**" in markdown.render_targets(a_target())


def test_facts_given_by_the_caller_stand_at_the_top() -> None:
    text = markdown.render_targets(a_target(), facts={"Head commit": "3f2c1d0b9a", "Base commit": ""})
    assert "Region: `us-west-2` · Head commit: `3f2c1d0b9a`\n" in text


def test_a_finished_apply_says_complete_and_a_stopped_one_says_so() -> None:
    assert "### Apply of `prod`: complete\n" in markdown.render_results(a_result())
    assert "### Apply of `prod`: interrupted\n" in markdown.render_results(a_result(interrupted=True))


def test_a_set_is_shown_as_members_gained_and_lost() -> None:
    change = FieldChange("/allowedCountries", ("AT", "DE", "FR"), ("AT", "DE", "IT"))
    text = markdown.render_targets(a_target(an_action(Verb.UPDATE, "playback-restriction-policy/eu", change)))
    assert '  allowedCountries: (2 unchanged)\n-   "FR"\n+   "IT"\n' in text


def test_a_blocked_delete_is_listed_as_blocked_with_what_it_would_do() -> None:
    text = markdown.render_targets(a_target(an_action(Verb.DELETE, "channel/x", blocked=Blocked("live", "live"))))
    assert "! - channel/x: would be deleted; live: live\n" in text
    assert "**Deleted" not in text


@given(plans)
@QUICK
def test_no_text_in_a_plan_breaks_out_of_its_place(plan: Plan) -> None:
    assert is_harmless(markdown.render_plan(plan))


@given(targets, st.integers(1_600, 6_000))
@QUICK
def test_a_cut_target_is_no_longer_than_the_limit_and_as_harmless(target: TargetPlan, limit: int) -> None:
    text = markdown.render_targets(target, limit=limit, artefact_url="https://example.com/<b>(x) y`z")
    assert len(text.encode()) <= limit
    assert is_harmless(text)


@given(results, st.one_of(st.none(), st.integers(1_600, 3_000)))
@QUICK
def test_no_text_in_a_result_breaks_out_of_its_place(result: ApplyResult, limit: int | None) -> None:
    text = markdown.render_results(result, limit=limit)
    assert limit is None or len(text.encode()) <= limit
    assert is_harmless(text)


@given(texts)
@example("@acme/everyone please see #12")
@example("1. x")
@example("deadbeef")
@example("``")
@example("`x` ")
@QUICK
def test_text_in_a_sentence_keeps_its_words_and_has_no_other_meaning(text: str) -> None:
    assert is_harmless(f"{prose(text)}\n\n{code(text)}\n\n{fenced(['+ ' + text])}")


def test_a_sentence_of_plain_words_stays_as_it_is() -> None:
    assert prose("it was removed, and 20 don't (yet)") == "it was removed, and 20 don't (yet)"
    assert prose("the limit is 0 and 30 %); check 5 %.") == "the limit is 0 and 30 %); check 5 %."
    assert prose("channel/main-stage: see @team, now") == "`channel/main-stage`: see `@team`, now"


@pytest.mark.parametrize("word", ["defaced", "effaced", "deadbeef", "acceded"])
def test_a_word_that_a_forge_would_link_as_a_commit_is_code(word: str) -> None:
    assert prose(f"the page was {word} today") == f"the page was `{word}` today"


def test_a_shorter_word_of_hex_digits_stays_as_it_is() -> None:
    assert prose("a decade behind a facade") == "a decade behind a facade"


def test_a_pointer_that_is_not_on_the_web_is_shown_and_not_linked() -> None:
    assert link("all of it", "javascript:alert(1)") == "all of it: `javascript:alert(1)`"


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(1_000, 9_000))
@QUICK
def test_every_destructive_line_is_shown_or_counted_exactly(
    deletes: int, replaces: int, blocks: int, limit: int
) -> None:
    verbs = [*[Verb.DELETE] * deletes, *[Verb.REPLACE] * replaces]
    actions = [
        an_action(verb, f"channel/{verb.value}-{number:03}", explanation="why " * 20)
        for number, verb in enumerate(verbs)
    ]
    actions += [
        an_action(Verb.DELETE, f"channel/blocked-{number:03}", blocked=Blocked("live", "live"))
        for number in range(blocks)
    ]
    text = markdown.render_targets(a_target(*actions), limit=limit)
    assert len(text.encode()) <= limit
    for title, count, mark in (
        ("To delete", deletes, "- channel/delete"),
        ("To replace", replaces, "! +/- channel/replace"),
        ("Blocked", blocks, "! - channel/blocked"),
    ):
        if not count:
            continue
        part = text.split(f"**{title}: {count}**")[1].split("\n**")[0].split("\n<details>")[0].split("\nDetails")[0]
        left_out = re.search(r"Not listed \(size limit\): (\d+) \(channel: \1\)\.", part)
        assert part.count(mark) + (int(left_out[1]) if left_out else 0) == count


def test_a_plan_of_many_targets_keeps_the_counts_of_all() -> None:
    many = [a_target(*the_small_target().actions, name=f"target-{number}") for number in range(20)]
    row = "| 3 | 1 | 2 | 1 | 1 | 2 | 3 | 41 |"
    for limit in (900, 9_000, 15_000, 40_000, 100_000):
        text = markdown.render_targets(*many, limit=limit)
        assert len(text.encode()) <= limit
        assert limit == 900 or text.count(row) == 20
    smallest = markdown.render_targets(*many, limit=900)
    assert "60 to create, 20 to update, 40 to replace, 20 to delete" in smallest
    assert "to delete channel: 20" in smallest


def test_what_several_targets_have_in_common_is_shown_once_and_counted_in_each() -> None:
    changed = an_action(Verb.UPDATE, "channel/one", FieldChange("/latencyMode", "LOW", "NORMAL"), arn="arn:one")
    elsewhere = an_action(Verb.UPDATE, "channel/one", FieldChange("/latencyMode", "LOW", "NORMAL"), arn="arn:other")
    gone, created = an_action(Verb.DELETE, "channel/gone"), an_action(Verb.CREATE, "channel/new")
    differs = an_action(Verb.UPDATE, "channel/one", FieldChange("/latencyMode", "LOW", "LOWER"))
    text = markdown.render_targets(
        a_target(changed, gone, name="a"),
        a_target(elsewhere, gone, created, name="b|c"),
        a_target(differs, gone, name="d"),
        a_target(name="idle"),
        a_target(name="noted", notes=("a note",)),
    )
    heads = [line for line in text.splitlines() if line.startswith("###")]
    assert heads == ["### `a`, `b|c` and `d`", "### `a` and `b|c`", "### Only `b|c`", "### Only `d`", "### `noted`"]
    assert text.splitlines()[0].startswith("| Target | Account | Region | Create | Update | Replace | Delete | Unm")
    assert "| `b\\|c` | `123456789012` | `us-west-2` | 1 | 1 | · | 1 | 3 | 41 |" in text
    assert "| `idle` | `123456789012` | `us-west-2` | · | · | · | · | 3 | 41 |" in text
    assert text.count("- channel/gone") == 1
    assert "**To delete: 1, in each of 3 targets**" in text
    assert text.count("<code>channel/one</code>") == 2
    assert "arn:" not in text
    assert is_harmless(text)


def test_two_deletes_of_one_address_are_two_lines() -> None:
    twin = an_action(Verb.DELETE, "channel/twin")
    text = markdown.render_targets(a_target(twin, twin, name="a"), a_target(twin, name="b"))
    assert "**To delete: 1, in each of 2 targets**" in text
    assert text.count("- channel/twin") == 2


@given(st.lists(targets, min_size=2, max_size=4), st.one_of(st.none(), st.integers(3_000, 9_000)))
@QUICK
def test_a_cut_plan_of_several_targets_fits_is_harmless_and_hides_no_delete(
    some: list[TargetPlan], limit: int | None
) -> None:
    text = markdown.render_targets(*some, limit=limit)
    assert limit is None or len(text.encode()) <= limit
    assert is_harmless(text)
    whole = markdown.render_targets(*some)
    titles = re.findall(r"^\*\*To delete: (\d+)(?:, in each of (\d+) targets)?\*\*$", whole, re.MULTILINE)
    assert sum(int(one) * int(each or 1) for one, each in titles) == sum(target.summary.delete for target in some)


@pytest.mark.parametrize("count", [300, 900])
def test_hundreds_of_targets_keep_their_counts_and_what_each_deletes(count: int) -> None:
    change = FieldChange("/latencyMode", "LOW", "NORMAL")
    many = [
        a_target(
            *(an_action(Verb.UPDATE, f"channel/stage-{number}", change) for number in range(9)),
            an_action(Verb.DELETE, f"channel/old-{at}"),
            name=f"t{at:03}",
        )
        for at in range(count)
    ]
    text = markdown.render_targets(*many, limit=GITHUB, reserve=8_000, artefact_url="https://example.com/runs/7")
    assert len(text.encode()) <= GITHUB - 8_000
    assert is_harmless(text)
    assert f"all {count} targets" in text.lower()
    assert len(re.findall(r"^\| `t\d+` \|.* · \| 9 \| · \| 1 \|", text, re.MULTILINE)) == count
    deleted = text.split(f"**To delete: {count}**")[1]
    listed = [at for at in range(count) if f"\n- t{at:03}: channel/old-{at}: removed from the spec\n" in deleted]
    left_out = re.search(r"Not listed \(size limit\): (\d+) \(channel: \1\)", deleted)
    assert len(listed) + (int(left_out[1]) if left_out else 0) == count
    assert count == 900 or len(listed) == count


def test_results_of_several_targets_are_in_one_table() -> None:
    failed = the_small_result()
    text = markdown.render_results(failed._replace(name="a"), a_result()._replace(name="b"), facts={"Commit": "abc"})
    assert text.startswith("Commit: `abc`\n\n| Target | Apply | Done | Failed | Skipped | Blocked |\n")
    assert "| `a` | partially failed | 2 | 1 | 1 | 1 |\n| `b` | complete | · | · | · | · |\n" in text
    assert markdown.render_results(failed, failed, limit=300).startswith("Apply partially failed (2): 4 done, 2 failed")


def test_a_limit_that_is_too_small_for_the_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="limit of 100 bytes is too small: the counts need"):
        markdown.render_targets(the_small_target(), limit=300, reserve=200)


def test_five_hundred_resources_fit_a_comment_with_every_destructive_and_every_key_line() -> None:
    target = a_big_target(500)
    text = markdown.render_targets(target, limit=GITHUB, reserve=200, artefact_url="https://example.com/runs/7")
    assert len(text.encode()) <= GITHUB - 200
    assert len(text.encode()) > GITHUB - 2_000, "room was left unused"
    for action in target.actions:
        assert str(action.address) in text, "each resource has at least its line"
        assert action.verb is not Verb.DELETE or f"\n- {action.address}: removed from the spec\n" in text
    assert "[the whole plan](<https://example.com/runs/7>)" in text
    assert is_harmless(text)
