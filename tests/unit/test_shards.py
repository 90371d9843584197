"""Shards: every target in exactly one, the same everywhere and forever."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.target import HOME_REGIONS, Shards, Target, parse_shard, shard_of, targets_of_unknown_account

ACCOUNTS = st.one_of(st.none(), st.integers(0, 10**12 - 1).map("{:012}".format))
TARGETS = st.builds(
    Target,
    name=st.text(min_size=1, max_size=8),
    region=st.sampled_from(HOME_REGIONS),
    account_id=ACCOUNTS,
    role_arn=st.one_of(st.none(), st.integers(1, 9).map("arn:aws:iam::{0:012}:role/r".format)),
    profile=st.one_of(st.none(), st.text(max_size=4)),
    sandbox=st.one_of(st.none(), st.just("/tmp/a.db")),
)
FLEETS = st.lists(TARGETS, max_size=40, unique_by=lambda target: target.name).map(tuple)


@given(FLEETS, st.integers(1, 60))
def test_every_target_is_in_exactly_one_shard(fleet: tuple[Target, ...], total: int) -> None:
    shards = [Shards((index,), total).of(fleet) for index in range(1, total + 1)]
    assert sorted(target.name for shard in shards for target in shard) == sorted(target.name for target in fleet)
    assert Shards(tuple(range(1, total + 1)), total).of(fleet) == fleet
    for shard in shards:  # in the project's order
        assert list(shard) == [target for target in fleet if target in shard]


@given(FLEETS, st.integers(1, 60))
def test_targets_of_one_account_and_region_share_a_shard(fleet: tuple[Target, ...], total: int) -> None:
    found: dict[tuple[str, str], set[int]] = {}
    for target in fleet:
        if target.stated_account:
            found.setdefault((target.stated_account, target.region), set()).add(shard_of(target, total))
    assert all(len(shards) == 1 for shards in found.values())


@given(TARGETS, TARGETS, st.integers(1, 60))
def test_only_account_or_credentials_and_region_count(one: Target, other: Target, total: int) -> None:
    twin = Target(
        "renamed",
        one.region,
        account_id=one.account_id,
        role_arn=one.role_arn,
        profile=one.profile,
        sandbox=one.sandbox,
        prune=other.prune,
        specs=("elsewhere/*.yaml",),
        endpoint_url="http://127.0.0.1:1",
    )
    assert shard_of(twin, total) == shard_of(one, total)


def target(name: str = "t", region: str = "us-west-2", **more: Any) -> Target:
    return Target(name, region, **more)


PINNED = (
    (target(account_id="123456789012"), (1, 1, 3, 1, 997)),
    (target(account_id="123456789012", region="eu-west-1"), (1, 1, 2, 1, 849)),
    (target(account_id="200000000007", region="us-east-1"), (1, 1, 2, 1, 865)),
    (target(role_arn="arn:aws:iam::123456789012:role/x"), (1, 1, 3, 1, 997)),
    (target(sandbox="/somewhere/dev.db"), (1, 1, 3, 1, 997)),
    (target(profile="acme-prod"), (1, 2, 3, 4, 924)),
    (target(), (1, 1, 3, 3, 675)),
)


@pytest.mark.parametrize(("one", "shards"), PINNED)
def test_the_values_never_change(one: Target, shards: tuple[int, ...]) -> None:
    assert tuple(shard_of(one, total) for total in (1, 2, 3, 4, 1000)) == shards


def test_the_values_do_not_depend_on_the_seed_of_hashes() -> None:
    code = (
        "from reconciler.model.target import Target; from reconciler.model.target import shard_of;"
        "print([shard_of(Target('t', 'us-west-2', account_id=f'{n:012}'), 7) for n in range(50)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_fleet_is_spread() -> None:
    fleet = [target(f"t{n}", account_id=f"{200_000_000_000 + n}") for n in range(1000)]
    sizes = [len(Shards((index,), 10).of(fleet)) for index in range(1, 11)]
    assert sum(sizes) == 1000
    assert 70 < min(sizes) <= max(sizes) < 130


def test_targets_that_may_share_an_account_with_another_shard_are_named() -> None:
    known, one, other = (
        target("known", account_id="123456789012"),
        target("one", profile="a"),
        target("other", profile="b"),
    )
    elsewhere = target("elsewhere", region="eu-west-1", profile="c")
    assert targets_of_unknown_account((known, one, other, elsewhere), 1) == ()
    total = next(n for n in range(2, 99) if shard_of(one, n) != shard_of(other, n))
    assert targets_of_unknown_account((known, one, other, elsewhere), total) == ("one", "other")


@pytest.mark.parametrize(
    ("included", "total"), [((), 0), ((), 3), ((0,), 3), ((4,), 3), ((2, 1), 3), ((1, 1), 3), ((1,), 10**15)]
)
def test_numbers_of_a_file_that_are_no_shards_are_refused(included: tuple[int, ...], total: int) -> None:
    with pytest.raises(ValueError, match="is not shards of a fleet"):
        Shards(included, total)


def test_shards_of_several_files_are_together_and_the_missing_ones_are_known() -> None:
    both = Shards((3,), 4).with_(Shards((1,), 4))
    assert (str(both), both.missing) == ("1,3/4", (2, 4))


K8S, BATCH, LAB = "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "CI_NODE_INDEX"
OURS = "IVS_RECONCILER_SHARD_INDEX"


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("1/4", {}, "1/4"),
        ("4/4", {LAB: "1", "CI_NODE_TOTAL": "9", K8S: "7"}, "4/4"),  # used only when asked for
        ("1/1", {}, "1/1"),
        ("auto/4", {K8S: "0"}, "1/4"),
        ("auto/4", {K8S: "3"}, "4/4"),
        ("auto", {BATCH: "2", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, "3/3"),
        ("auto/3", {BATCH: "2", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, "3/3"),
        ("auto", {LAB: "1", "CI_NODE_TOTAL": "3"}, "1/3"),
        ("auto", {LAB: "3", "CI_NODE_TOTAL": "3"}, "3/3"),
        ("auto/5", {OURS: "4"}, "5/5"),
        ("auto", {OURS: "0", "IVS_RECONCILER_SHARD_TOTAL": "2", LAB: "9", K8S: "8"}, "1/2"),
    ],
)
def test_a_shard_is_given_or_read_from_the_environment(text: str, environment: dict[str, str], shard: str) -> None:
    assert str(parse_shard(text, environment)) == shard


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("", {}, "is not a shard; use I/N"),
        ("1", {}, "is not a shard; use I/N"),
        ("1/4/2", {}, "is not a shard"),
        ("-1/4", {}, "is not a shard"),
        ("٣/4", {}, "is not a shard"),
        ("1/4\n", {}, "is not a shard"),
        ("1000000000/4", {}, "is not a shard"),
        (
            "0/4",
            {},
            "numbered from 1 to 4; for a number from 0 in the environment, such as JOB_COMPLETION_INDEX, use auto/4",
        ),
        ("5/4", {}, "out of range: shards are numbered from 1 to 4"),
        ("1/0", {}, "has 0 shards"),
        ("0/0", {}, "has 0 shards"),
        ("1/10001", {}, "use 1 to 10,000"),
        ("auto/4", {}, "needs one of IVS_RECONCILER_SHARD_INDEX, JOB_COMPLETION_INDEX"),
        ("auto/4", {K8S: ""}, "needs one of"),
        ("auto", {K8S: "0"}, "JOB_COMPLETION_INDEX comes without one; use auto/N"),
        ("auto/4", {K8S: "4"}, "does not fit JOB_COMPLETION_INDEX, which is 4; of 4 it is from 0 to 3"),
        ("auto/4", {LAB: "0"}, "does not fit CI_NODE_INDEX, which is 0; of 4 it is from 1 to 4"),
        ("auto/0", {K8S: "0"}, "has 0 shards"),
        ("auto/4", {K8S: "x"}, "needs a number, and JOB_COMPLETION_INDEX is 'x'"),
        (
            "auto/4",
            {LAB: "1", "CI_NODE_TOTAL": "3"},
            "differs from CI_NODE_TOTAL, which is 3; use auto, or the same number",
        ),
        ("auto/4", {LAB: "1", K8S: "0"}, "JOB_COMPLETION_INDEX and CI_NODE_INDEX are set"),
    ],
)
def test_what_is_no_shard_is_refused_with_what_to_use(text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_shard(text, environment)
    assert message in str(refused.value)
