"""What follows from a look at what claims an address: each rule by itself, and two runs that go by them together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.apply.claims import Absent, Claim, DeleteOwn, Keep, ListedResource, Undecidable, Verdict, Wait, decide
from reconciler.model.address import Address, KindName

TAGS = {"ivs-reconciler:stack": "acme", "ivs-reconciler:id": "a"}
NUMBER = "0123456789ab"


def seen(*arns: str, **more: object) -> tuple[ListedResource, ...]:
    return tuple(ListedResource(arn, "a", {**TAGS, **{key: str(value) for key, value in more.items()}}) for arn in arns)


def claim(own: str | None = None, *, deleted: tuple[str, ...] = (), refused: bool = False) -> Claim:
    return Claim(
        Address(KindName.CHANNEL, "a"), dict(TAGS), 0.0, own=own, deleted=frozenset(deleted), delete_refused=refused
    )


@pytest.mark.parametrize("patient", [True, False])
def test_a_single_claim_is_kept(patient: bool) -> None:
    assert decide(claim("x"), seen("x"), patient=patient) == Keep("x")
    assert decide(claim(), seen("x"), patient=patient) == Keep("x")


def test_a_list_without_the_created_resource_is_read_again_and_then_the_answer_counts() -> None:
    assert isinstance(decide(claim("x"), (), patient=True), Wait)
    assert isinstance(decide(claim("x"), seen("a"), patient=True), Wait)
    assert decide(claim("x"), (), patient=False) == Keep("x")


def test_a_create_without_an_answer_is_sent_again_only_after_the_lag() -> None:
    assert isinstance(decide(claim(), (), patient=True), Wait)
    assert decide(claim(), (), patient=False) == Absent()


def test_the_lowest_stays_and_only_its_maker_takes_the_other_back() -> None:
    assert decide(claim("y"), seen("x", "y"), patient=True) == DeleteOwn("y")
    assert isinstance(decide(claim("x"), seen("x", "y"), patient=True), Wait)
    assert isinstance(decide(claim(), seen("x", "y"), patient=True), Wait)


def test_when_nothing_moves_the_maker_of_the_lowest_takes_it_back_and_who_made_none_gives_up() -> None:
    assert decide(claim("x"), seen("x", "y"), patient=False) == DeleteOwn("x")
    assert decide(claim(), seen("x", "y"), patient=False) == Undecidable(seen("x", "y"))


def test_a_resource_in_use_or_one_that_aws_does_not_delete_is_left() -> None:
    touched = (*seen("x"), *seen("y", team="video"))
    assert isinstance(decide(claim("y"), touched, patient=True), Wait)
    assert decide(claim("y"), touched, patient=False) == Undecidable(touched)
    assert decide(claim("y", refused=True), seen("x", "y"), patient=False) == Undecidable(seen("x", "y"))
    tagged_by_aws = (*seen("x"), *seen("y", **{"aws:cloudformation:stack-name": "s"}))
    assert decide(claim("y"), tagged_by_aws, patient=True) == DeleteOwn("y")


def test_after_a_withdrawal_the_list_has_to_show_it_before_the_other_counts() -> None:
    assert isinstance(decide(claim(deleted=("y",)), seen("x", "y"), patient=True), Wait)
    assert decide(claim(deleted=("y",)), seen("x"), patient=True) == Keep("x")
    assert decide(claim(deleted=("y",)), (), patient=True) == Absent()


@given(st.sets(st.sampled_from("uvwxyz"), max_size=4), st.sampled_from([None, *"uvwxyz"]), st.booleans(), st.booleans())
def test_a_run_deletes_nothing_but_its_own_and_never_the_only_one(
    there: set[str], own: str | None, refused: bool, patient: bool
) -> None:
    verdict: Verdict = decide(claim(own, refused=refused), seen(*sorted(there)), patient=patient)
    if isinstance(verdict, DeleteOwn):
        assert verdict.arn == own
        assert not refused
        assert len(there) > 1
    if isinstance(verdict, Absent):
        assert not there
        assert own is None


@given(st.permutations("xy"))
def test_of_two_makers_who_see_both_exactly_one_withdraws(order: list[str]) -> None:
    verdicts = [decide(claim(own), seen("x", "y"), patient=True) for own in order]
    assert sum(isinstance(verdict, DeleteOwn) for verdict in verdicts) == 1


def looked(claim: Claim, *sightings: ListedResource, patient: bool = True) -> Verdict:
    claim.record_list(sightings, 1.0)
    return decide(claim, sightings, patient=patient)


def numbered(arn: str, attempt: str = NUMBER) -> ListedResource:
    return seen(arn, **{"ivs-reconciler:attempt": attempt})[0]


def unanswered(*, deleted: tuple[str, ...] = ()) -> Claim:
    return Claim(
        Address(KindName.CHANNEL, "a"), dict(TAGS), 0.0, attempt=NUMBER, uncertain=True, deleted=frozenset(deleted)
    )


def test_a_run_whose_answer_was_lost_knows_its_own_by_its_number() -> None:
    assert looked(unanswered(), numbered("x")) == Keep("x")
    assert looked(unanswered(), numbered("x", "another"), numbered("y")) == DeleteOwn("y")
    assert isinstance(looked(unanswered(), numbered("x"), numbered("y", "another")), Wait)
    assert looked(unanswered(), numbered("x"), numbered("y", "another"), patient=False) == DeleteOwn("x")


def test_another_claim_counts_only_once_our_own_would_be_listed() -> None:
    assert isinstance(looked(unanswered(), numbered("x", "another")), Wait)
    assert looked(unanswered(), numbered("x", "another"), patient=False) == Keep("x")
    refused = Claim(Address(KindName.CHANNEL, "a"), dict(TAGS), 0.0, attempt=NUMBER)
    assert looked(refused, numbered("x", "another")) == Keep("x")


def test_what_a_run_made_twice_goes_down_to_the_lowest() -> None:
    claim = unanswered()
    claim.record_create("y", 0.0)
    assert looked(claim, numbered("x"), numbered("y")) == DeleteOwn("y")
    claim.record_delete("y", 2.0)
    assert isinstance(looked(claim, numbered("x"), numbered("y")), Wait)
    assert looked(claim, numbered("x")) == Keep("x")
    assert claim.own == "x"


def test_a_number_says_nothing_about_what_was_withdrawn() -> None:
    claim = unanswered(deleted=("y",))
    assert isinstance(looked(claim, numbered("y")), Wait)
    assert claim.own is None
