"""A fleet in shards: the same command N times, each target once, and one report of all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.sandbox import Sandbox
from tests.cli.support import client, run
from tests.preloaded import Process

ACCOUNTS = [f"{200_000_000_000 + n}" for n in range(4)]
REGIONS = ("us-west-2", "eu-west-1")
TARGETS = {f"t{account[-1]}-{region[:2]}": (account, region) for account in ACCOUNTS for region in REGIONS}
SHARDS = (["t0-us", "t1-eu", "t2-us", "t2-eu"], ["t0-eu"], ["t1-us", "t3-us", "t3-eu"])
"""Which targets are in which of three shards: a hash of account and region, that never changes."""

EMPTY = "3/40"


def set_up(folder: Path, server: Sandbox, patch: pytest.MonkeyPatch) -> Path:
    """Make a project of four accounts in two regions; the first channel of each exists, and the second is to be created."""
    (folder / "specs").mkdir(parents=True)
    (folder / "specs" / "live.yaml").write_text("channels: {one: {}}\n", "utf-8")
    targets = {
        name: {"region": region, "accountId": account, "profile": f"p{account}", "endpointUrl": server.endpoint_url}
        for name, (account, region) in TARGETS.items()
    }
    (folder / "ivs-reconciler.yaml").write_text(
        yaml.safe_dump({"stack": "acme", "targets": targets}, sort_keys=False), "utf-8"
    )
    keys = (f"[p{one}]\naws_access_key_id = {one}\naws_secret_access_key = any\n" for one in ACCOUNTS)
    (folder / "credentials").write_text("".join(keys), "utf-8")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    applied = run(folder, "apply", "--auto-approve")
    assert applied.code == 0, applied.err
    (folder / "specs" / "live.yaml").write_text("channels: {one: {}, two: {latencyMode: NORMAL}}\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Sandbox]]:
    """A fleet that no test changes, with the plans of three shards."""
    with Sandbox() as server, pytest.MonkeyPatch.context() as patch:
        folder = set_up(tmp_path_factory.mktemp("shards") / "fleet", server, patch)
        planned(folder)
        yield folder, server


@pytest.fixture
def unchanged(shared: tuple[Path, Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project of the shared fleet, whose accounts must stay as they are."""
    folder = tmp_path / "fleet"
    shutil.copytree(shared[0], folder)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    yield folder
    assert set(map(tuple, channels(shared[1]).values())) == {("one",)}


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def fleet(tmp_path: Path, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet of the test's own."""
    return set_up(tmp_path / "fleet", server, monkeypatch)


def channels(server: Sandbox) -> dict[str, list[str]]:
    """Return the names of the channels of each target."""
    return {
        name: sorted(
            str(one["name"])
            for one in client(server.endpoint_url, account=account, region=region).list_channels()["channels"]
        )
        for name, (account, region) in TARGETS.items()
    }


FILES = [f"plan-{number}.json" for number in (1, 2, 3)]


def planned(folder: Path, *words: str) -> list[str]:
    """Save the plan of each of three shards; return the names of the files."""
    for number, file in enumerate(FILES, start=1):
        ran = run(folder, "plan", "--shard", f"{number}/3", "--out", file, *words)
        assert ran.code == 0, ran.err
    return FILES


def test_the_plans_of_all_shards_are_the_plan_of_the_whole_byte_by_byte(unchanged: Path) -> None:
    whole = run(unchanged, "plan", "--format", "json").json
    by_name = {target["name"]: json.dumps(target) for target in whole["targets"]}
    seen: dict[str, str] = {}
    for number, (file, names) in enumerate(zip(FILES, SHARDS, strict=True), start=1):
        content = json.loads((unchanged / file).read_text("utf-8"))
        assert content["shards"] == {"included": [number], "total": 3}
        assert [target["name"] for target in content["targets"]] == names, "the project's order"
        seen |= {target["name"]: json.dumps(target) for target in content["targets"]}
    assert seen == by_name

    shown = run(unchanged, "show", "--format", "json", *reversed(FILES)).json
    assert {target["name"]: json.dumps(target) for target in shown["targets"]} == by_name
    assert [target["name"] for target in shown["targets"]] == sorted(by_name)
    outside = {"createdAt", "targets", "fingerprint"}
    assert {key: value for key, value in shown.items() if key not in outside} == {
        key: value for key, value in whole.items() if key not in outside
    }

    text = run(unchanged, "show", *FILES).out
    assert text.startswith("8 targets: 8 with changes.\n")
    assert "Shard" not in text
    some = run(unchanged, "show", FILES[0], FILES[2])
    assert some.out.startswith("Shards 1 and 3 of 3.\n\n7 targets: 7 with changes.\n")
    for form in ("markdown", "html"):
        assert "1 and 3 of 3" in run(unchanged, "show", "--format", form, FILES[0], FILES[2]).out
    assert run(unchanged, "show", "--detailed-exitcode", *FILES).code == 2


def test_an_apply_of_several_plans_judges_all_before_it_applies_any(fleet: Path, server: Sandbox) -> None:
    files = planned(fleet)
    before = channels(server)
    assert set(map(tuple, before.values())) == {("one",)}
    account, region = TARGETS["t3-eu"]
    outside = client(server.endpoint_url, account=account, region=region)
    (one,) = outside.list_channels()["channels"]
    (fleet / "specs" / "live.yaml").write_text("channels: {one: {}, two: {latencyMode: LOW}}\n", "utf-8")
    stale = run(fleet, "apply", "--auto-approve", *files)
    assert stale.code == 3
    assert "t0-us: " in stale.err
    assert "t3-eu: " in stale.err
    assert channels(server) == before, "nothing was applied"
    assert not list(fleet.glob("*.applied"))

    (fleet / "specs" / "live.yaml").write_text("channels: {one: {}, two: {latencyMode: NORMAL}}\n", "utf-8")
    applied = run(fleet, "apply", "--auto-approve", *files)
    assert applied.code == 0, applied.err
    assert set(map(tuple, channels(server).values())) == {("one", "two")}
    again = run(fleet, "apply", "--auto-approve", *files)
    assert again.code == 3
    assert run(fleet, "plan", "--detailed-exitcode").code == 0
    assert one["name"] == "one"


def test_each_shard_applies_its_targets_of_the_merged_plans_once(fleet: Path, server: Sandbox) -> None:
    files = planned(fleet)
    for number, names in enumerate(SHARDS, start=1):
        applied = run(fleet, "apply", "--auto-approve", "--shard", f"{number}/3", *files)
        assert applied.code == 0, applied.err
        done = {name for name, found in channels(server).items() if "two" in found}
        assert done == {name for shard in SHARDS[:number] for name in shard}, names
    wrong = run(fleet, "apply", "--auto-approve", "--shard", "1/3", files[1])
    assert (wrong.code, "the plan has none of its targets" in wrong.err) == (1, True)
    assert run(fleet, "plan", "--detailed-exitcode").code == 0


def _emptied(folder: Path) -> None:
    content = json.loads((folder / FILES[1]).read_text("utf-8"))
    content["targets"].clear()
    (folder / FILES[1]).write_text(json.dumps(content), "utf-8")


def _other_options(folder: Path) -> None:
    assert run(folder, "plan", "--shard", "2/3", "--prune", "--out", FILES[1]).code == 0


def _same_target(folder: Path) -> None:
    assert run(folder, "plan", "-t", "t1-us", "--out", "plan-4.json").code == 0


def _other_number(folder: Path) -> None:
    assert run(folder, "plan", "--shard", EMPTY, "--out", FILES[1]).code == 0


def _other_stack(folder: Path) -> None:
    path = folder / "ivs-reconciler.yaml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("stack: acme", "stack: other"), "utf-8")
    assert run(folder, "plan", "--shard", "2/3", "--out", FILES[1]).code == 0
    path.write_text(text, "utf-8")


def _other_commit(folder: Path) -> None:
    for words in (("init", "-q"), ("add", "specs"), ("commit", "-qm", "one")):
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    assert run(folder, "plan", "--shard", "2/3", "--out", FILES[1]).code == 0


NO_FIT = {
    "options": (_other_options, "plan-2.json was created with other options than plan-1.json"),
    "targets": (_same_target, "target t1-us is in plan-3.json and in plan-4.json"),
    "shards": (_other_number, "plan-2.json is of 40 shards, plan-1.json of 3"),
    "stack": (_other_stack, "plan-2.json is for stack 'other', plan-1.json for stack 'acme'"),
    "commit": (_other_commit, "plan-2.json was created from commit "),
    "edited": (_emptied, "plan-2.json: the plan file was changed"),
}


@pytest.mark.parametrize(("made", "message"), NO_FIT.values(), ids=NO_FIT)
def test_plans_that_do_not_fit_together_are_refused_by_every_verb(
    unchanged: Path, made: Callable[[Path], None], message: str
) -> None:
    made(unchanged)
    files = sorted(path.name for path in unchanged.glob("plan-?.json"))
    for words in (("show",), ("apply", "--auto-approve"), ("comment", "--dry-run", "--plan")):
        ran = run(unchanged, *words, *files)
        assert (ran.code, ran.out) == (3, ""), words
        assert message in ran.err


def test_an_empty_shard_is_no_error_and_its_files_are_valid(unchanged: Path) -> None:
    for words in (("plan",), ("drift",), ("apply", "--auto-approve"), ("status",)):
        ran = run(unchanged, *words, "--shard", EMPTY)
        assert (ran.code, ran.out, ran.err) == (0, "Shard 3 of 40 has no targets.\n", ""), words
    assert run(unchanged, "plan", "--shard", EMPTY, "--out", "empty.json").code == 0
    shown = run(unchanged, "show", "empty.json")
    assert (shown.code, shown.out) == (0, "Shard 3 of 40 has no targets.\n")
    for verb in (("plan",), ("drift",), ("show", "empty.json")):
        for form in ("markdown", "html", "json"):
            ran = run(unchanged, *verb, "--format", form, *(() if "show" in verb else ("--shard", EMPTY)))
            assert (ran.code, ran.err) == (0, ""), (verb, form)
            assert json.loads(ran.out)["targets"] == [] if form == "json" else "3 of 40" in ran.out
    assert run(unchanged, "status", "--format", "json", "--shard", EMPTY).json["targets"] == []
    assert run(unchanged, "drift", "--format", "junit", "--shard", EMPTY).code == 0
    applied = run(unchanged, "apply", "--auto-approve", "--format", "json", "--shard", EMPTY)
    assert (applied.code, json.loads(applied.out.splitlines()[-1])["complete"]) == (0, True)
    saved = run(unchanged, "apply", "--auto-approve", "empty.json")
    assert (saved.code, saved.out) == (0, "Shard 3 of 40 has no targets.\n")


def reported(folder: Path, *words: str) -> tuple[list[str], list[int]]:
    """Save the drift report of each of three shards; return the names of the files, and the exit codes."""
    files, codes = [], []
    for number in (1, 2, 3):
        ran = run(folder, "drift", "--shard", f"{number}/3", "--format", "json", *words)
        files.append(f"drift-{number}.json")
        (folder / files[-1]).write_text(ran.out, "utf-8")
        codes.append(ran.code)
    return files, codes


def test_drift_reports_of_shards_are_one_report_with_the_exit_code_of_one_run(fleet: Path, server: Sandbox) -> None:
    files, codes = reported(fleet)
    assert codes == [5, 5, 5]
    assert run(fleet, "drift", "--from", *files).code == 5
    account, region = TARGETS["t0-eu"]
    outside = client(server.endpoint_url, account=account, region=region)
    outside.update_channel(arn=outside.list_channels()["channels"][0]["arn"], authorized=True)
    files, codes = reported(fleet)
    assert codes == [5, 2, 5]
    whole = run(fleet, "drift", "--format", "json")
    merged = run(fleet, "drift", "--format", "json", "--from", *files)
    assert (whole.code, merged.code) == (2, 2)
    by_name = {target["name"]: target for target in whole.json["targets"]}
    assert merged.json["targets"] == [by_name[name] for name in sorted(by_name)]
    assert {**merged.json, "targets": []} == {**whole.json, "targets": []}
    text = run(fleet, "drift", "--from", *files)
    assert text.out.startswith("8 targets: 7 pending, 1 with drift.\n")
    for form in ("markdown", "html", "junit"):
        ran = run(fleet, "drift", "--format", form, "--from", *files)
        assert (ran.code, ran.err) == (2, ""), form
        assert all(name in ran.out for name in TARGETS), form
    # A shard without a report is not in sync.
    some = run(fleet, "drift", "--from", files[0], files[2])
    assert some.code == 1
    assert some.out.startswith("Shards 1 and 3 of 3.\n")
    assert "shard 2 of 3 has no report; pass its file too" in some.err
    for refused, message in (
        ((files[0], files[0]), "drift-1.json: given twice; pass each file once"),
        ((files[0], "nowhere.json"), "nowhere.json: no such file"),
        ((files[0], "ivs-reconciler.yaml"), "ivs-reconciler.yaml: not a report"),
        ((*files, "--blame"), "--from cannot be combined with --blame"),
        ((*files, "--shard", "1/3"), "--from cannot be combined with --shard"),
    ):
        ran = run(fleet, "drift", "--from", *refused)
        assert ran.code in (1, 3), refused
        assert message in ran.err, refused


def test_an_empty_report_and_one_that_is_given_twice_are_named(unchanged: Path) -> None:
    (file, *_), _ = reported(unchanged)
    (unchanged / "killed.json").write_text("", "utf-8")
    for words, one, code in ((("drift", "--from"), file, 1), (("show",), FILES[0], 3), (("apply",), FILES[0], 3)):
        twice = run(unchanged, *words, one, one)
        assert (twice.code, twice.err.endswith(f"{one}: given twice; pass each file once\n")) == (code, True), twice.err
    for verb in (("drift", "--from"), ("comment", "--dry-run", "--plan")):
        empty = run(unchanged, *verb, file, "killed.json")
        assert (empty.code, empty.out) == (1, "")
        assert "killed.json: empty: the run that should have written it failed; run it again" in empty.err


def test_a_target_that_failed_in_one_shard_fails_the_merged_report(unchanged: Path) -> None:
    keys = (unchanged / "credentials").read_text("utf-8").replace(f"[p{ACCOUNTS[3]}]", "[else]")
    (unchanged / "credentials").write_text(keys, "utf-8")
    files, codes = reported(unchanged)
    assert codes == [5, 5, 1]
    merged = run(unchanged, "drift", "--from", *files)
    assert merged.code == 1
    assert merged.out.startswith("8 targets: 6 pending, 2 failed.\n")
    assert "t3-us: t3-us: " not in merged.err
    assert f"p{ACCOUNTS[3]}" in merged.err


def test_a_target_that_failed_stops_no_other_one(fleet: Path, server: Sandbox) -> None:
    """The plan of its shard has the others, and is shown, posted and applied; what could not be read is named each time."""
    server.control.deny("ListChannels", account=ACCOUNTS[0])  # one of four in shard 1, the only one in shard 2
    codes = [run(fleet, "plan", "--shard", f"{n}/3", "--out", file).code for n, file in enumerate(FILES, 1)]
    assert codes == [1, 1, 0]
    shown = run(fleet, "show", *FILES)
    assert (shown.code, shown.out.startswith("8 targets: 6 with changes, 2 failed.\n")) == (0, True)
    posted = run(fleet, "comment", "--dry-run", "--plan", *FILES).out
    assert "**8 targets: 6 with changes, 2 failed**\n\nFailed:\n\n- `t0-eu`: " in posted
    named = run(fleet, "comment", "--dry-run", "--plan", *FILES, "-t", "t1-us").out
    assert "failed" not in named
    alone = run(fleet, "apply", "--auto-approve", "--shard", "2/3", *FILES)
    assert alone.code == 1
    assert alone.out.startswith("Shard 2 of 3.\n\n1 target: 1 failed.\n\n  t0-eu ")
    one = run(fleet, "show", "-t", "t0-eu", *FILES)
    assert (one.code, "\n1 target: 1 failed.\n\n  t0-eu " in f"\n{one.out}") == (0, True)
    assert alone.err.startswith("t0-eu: could not be read by plan: ")
    ran = run(fleet, "apply", "--auto-approve", *FILES)
    assert ran.code == 4, ran.err
    assert "error: t0-eu: could not be read by plan: " in ran.err
    assert "\n8 targets: 6 applied, 2 failed.\n" in ran.out
    server.control.clear_faults()
    assert {name: len(found) for name, found in channels(server).items()} == {
        name: 1 if account == ACCOUNTS[0] else 2 for name, (account, _) in TARGETS.items()
    }
    again = run(fleet, "plan", "--out", "again.json")
    assert again.out.startswith("8 targets: 6 in sync, 2 with changes.\n")
    assert run(fleet, "apply", "--auto-approve", "again.json").code == 0


def test_one_comment_is_about_all_shards(fleet: Path) -> None:
    files = planned(fleet)
    ran = run(fleet, "comment", "--dry-run", "--plan", *files)
    assert ran.code == 0, ran.err
    assert ran.out.count("## Plan for stack `acme`") == 1
    assert all(f"`{name}`" in ran.out for name in TARGETS)
    assert "Shard" not in ran.out
    some = run(fleet, "comment", "--dry-run", "--plan", files[1], "--plan", files[2])
    assert "2 and 3 of 3" in some.out
    reports, _ = reported(fleet)
    assert run(fleet, "comment", "--dry-run", "--plan", *reports).out.count("## Drift of stack `acme`") == 1
    mixed = run(fleet, "comment", "--dry-run", "--plan", files[0], reports[1])
    assert (mixed.code, mixed.err) == (
        1,
        "plan-1.json is a saved plan and drift-2.json is a drift report; pass files of one kind\n",
    )
    events = []
    for number in (1, 2, 3):
        ran = run(fleet, "apply", "--auto-approve", "--format", "json", "--shard", f"{number}/3")
        events.append(f"apply-{number}.jsonl")
        (fleet / events[-1]).write_text(ran.out, "utf-8")
    said = run(fleet, "comment", "--dry-run", "--plan", *events).out
    assert said.count("## Apply of stack `acme`") == 1
    assert all(f"`{name}`" in said for name in TARGETS)


def test_a_shard_of_named_targets_is_what_is_in_both(unchanged: Path) -> None:
    ran = run(unchanged, "plan", "--shard", "1/3", "-t", "t1-eu", "-t", "t1-us", "--format", "json")
    assert [target["name"] for target in ran.json["targets"]] == ["t1-eu"]
    assert run(unchanged, "plan", "--shard", "1/3", "-t", "nowhere").code == 1
    assert [one["name"] for one in run(unchanged, "status", "--shard", "2/3", "--format", "json").json["targets"]] == [
        "t0-eu"
    ]


def test_globs_are_compared_with_the_specs_of_all_shards(fleet: Path) -> None:
    text = (fleet / "ivs-reconciler.yaml").read_text("utf-8")
    assert run(fleet, "apply", "--auto-approve").code == 0
    project = yaml.safe_load(text)
    project["targets"]["t3-us"]["specs"] = ["more.yaml"]
    (fleet / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project, sort_keys=False), "utf-8")
    (fleet / "more.yaml").write_text("channels: {three: {}}\n", "utf-8")
    for number, code in ((1, 0), (2, 0), (3, 2)):
        ran = run(fleet, "plan", "--shard", f"{number}/3", "--only", "channel/three", "--detailed-exitcode")
        assert ran.code == code, ran.err
        wrong = run(fleet, "plan", "--shard", f"{number}/3", "--exclude", "channel/thre")
        assert (wrong.code, "channel/thre" in wrong.err) == (1, True)


def test_a_shard_is_used_only_when_requested(unchanged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_NODE_INDEX", "2")
    monkeypatch.setenv("CI_NODE_TOTAL", "3")
    assert len(run(unchanged, "plan", "--format", "json").json["targets"]) == 8
    ran = run(unchanged, "plan", "--shard", "auto", "--format", "json")
    assert [target["name"] for target in ran.json["targets"]] == SHARDS[1]
    for word, message in (
        ("0/3", "shards are numbered from 1 to 3"),
        ("4/3", "'4/3' is out of range: shards are numbered from 1 to 3"),
        ("x", "use I/N"),
    ):
        ran = run(unchanged, "plan", "--shard", word)
        assert ran.code == 1
        assert message in ran.err


NOTE = (
    "note: t0-us and t1-us state no accountId, so --shard uses the profile: "
    "two targets of one account could be in different shards, undetected"
)


def test_targets_of_unknown_accounts_are_noted(unchanged: Path) -> None:
    project = yaml.safe_load((unchanged / "ivs-reconciler.yaml").read_text("utf-8"))
    del project["targets"]["t0-us"]["accountId"], project["targets"]["t1-us"]["accountId"]
    (unchanged / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project, sort_keys=False), "utf-8")
    said = [run(unchanged, "plan", "--shard", f"{number}/3") for number in (1, 2, 3)]
    assert sum(ran.out.count("channel/two") > 0 for ran in said) >= 2
    notes = [line for ran in said for line in ran.err.splitlines()]
    assert len(notes) == 3
    assert set(notes) == {NOTE}
    assert run(unchanged, "plan").err == ""
    # The resources of one may be those of the other, which this run does not read.
    (unchanged / "specs" / "live.yaml").write_text("channels: {three: {}}\n", "utf-8")
    for number in (1, 2, 3):
        ran = run(
            unchanged, "apply", "--auto-approve", "--prune", "-t", "t0-us", "-t", "t1-us", "--shard", f"{number}/3"
        )
        if "channel/one" in ran.out:
            assert ran.code == 3
            assert "add accountId to all targets, or run without --shard" in ran.err


def test_a_shard_that_is_killed_while_it_applies_is_finished_by_the_next_run(fleet: Path, server: Sandbox) -> None:
    (fleet / "specs" / "live.yaml").write_text("channels: {one: {}, c: {forEach: {count: 12}}}\n", "utf-8")
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=0.3, times=None)
    with Process(
        ["apply", "--auto-approve", "--shard", "1/3"],
        cwd=fleet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    ) as process:
        while len(server.control.calls(operation="CreateChannel")) < 4:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    # Is answered after the calls that were in flight.
    client(server.endpoint_url, account="999999999999").create_channel(name="last")
    server.control.clear_faults()
    some = sum(len(found) for found in channels(server).values())
    assert 8 < some < 8 + 4 * 12, "killed in the middle"
    for number in (1, 2, 3):
        ran = run(fleet, "apply", "--auto-approve", "--shard", f"{number}/3")
        assert ran.code == 0, ran.err
    assert {len(found) for found in channels(server).values()} == {13}
    assert run(fleet, "drift").code == 0
