"""``drift`` as people and machines read it: what is ignored is counted, what is folded can be unfolded, and every view says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from tests.cli.support import arn_of, outside, rewrite, run, stack
from tests.schemas import validator

SPEC: dict[str, dict[str, Any]] = {
    "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
    "channels": {"main": {"tags": {"team": "video"}, "streamKey": {}}, "side": {}, "third": {}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stack with something of every sort: changed outside, missing, pending, double, unmanaged."""
    folder = stack(tmp_path_factory.mktemp("drift") / "repo", SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        main, side = arn_of(ivs, "main"), arn_of(ivs, "side")
        ivs.update_channel(arn=main, latencyMode="NORMAL")
        ivs.tag_resource(resourceArn=main, tags={"team": "audio"})
        ivs.delete_channel(arn=side)
        third = ivs.get_channel(arn=arn_of(ivs, "third"))["channel"]
        ivs.create_channel(name="twin", tags=third["tags"])
        ivs.create_channel(name="theirs")
    rewrite(folder, {**SPEC, "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE", "FR"]}}})
    return folder


def test_the_schema_is_one_and_holds_of_what_is_printed(folder: Path) -> None:
    for words in ((), ("-v",), ("--ignore", "channel/main:/latencyMode")):
        shown = run(folder, "drift", "--format", "json", *words)
        assert shown.code == 2
        validator("drift").validate(shown.json)
    wrong = run(folder, "drift", "--format", "json").json
    del wrong["targets"][0]["ignored"]
    with pytest.raises(jsonschema.ValidationError):
        validator("drift").validate(wrong)


def test_every_status_is_reported(folder: Path) -> None:
    (target,) = run(folder, "drift", "--format", "json").json["targets"]
    found = {(one["status"], one["address"]) for one in target["findings"]}
    assert {
        ("drift", "channel/main"),
        ("missing", "channel/side"),
        ("duplicate", "channel/third"),
        ("pending", "playback-restriction-policy/eu"),
    } <= found
    assert [one["name"] for one in target["unmanaged"]] == ["theirs"]


def test_text_with_drift_ends_with_how_to_revert_or_accept_it(folder: Path) -> None:
    revert, recreate = (
        "Run apply to restore the values of the spec, or drift --accept ADDRESS to write the live values into the spec.",
        "Run apply to recreate what is missing, or remove it from the spec.",
    )
    assert run(folder, "drift").out.endswith(f"\n\n{revert}\n{recreate}\n")
    for address, last in (("channel/main", revert), ("channel/side", recreate)):
        assert run(folder, "drift", "--only", address).out.splitlines()[-1] == last
    assert "Run apply" not in run(folder, "drift", "--only", "stream-key/main").out


@pytest.mark.parametrize("view", ["text", "json", "markdown", "html", "junit"])
def test_what_is_ignored_is_counted_and_named_in_every_view(folder: Path, view: str) -> None:
    shown = run(
        folder,
        "drift",
        "--format",
        view,
        "--ignore",
        "channel/*:/tags/team",
        "--ignore",
        "channel/main:/latencyMode",
        "--ignore",
        "channel/none:/name",
    )
    assert shown.code == 2, "a channel is still missing"
    assert shown.err == "note: --ignore channel/none:/name matched no difference\n"
    if view == "json":
        (target,) = shown.json["targets"]
        assert [(one["address"], [change["path"] for change in one["changes"]]) for one in target["ignored"]] == [
            ("channel/main", ["/latencyMode", "/tags/team"])
        ]
        assert "channel/main" not in {one["address"] for one in target["findings"]}
    else:
        assert "channel/main: latencyMode, tags.team (drift)" in shown.out
        assert "2 ignored" in shown.out


def test_an_invalid_ignore_is_refused_before_anything_is_read(folder: Path) -> None:
    shown = run(folder, "drift", "--ignore", "channel/main")
    assert (shown.code, shown.out) == (1, "")
    assert "is not ADDRESS:PATH" in shown.err


def test_a_partial_report_has_the_counts_and_the_exit_code_of_the_part(folder: Path) -> None:
    def part(*words: str) -> tuple[int, dict[str, Any]]:
        ran = run(folder, "drift", "--format", "json", *words)
        validator("drift").validate(ran.json)
        (target,) = ran.json["targets"]
        return ran.code, target

    code, policy = part("--only", "playback-restriction-policy/*")
    assert code == 5, "what is drift elsewhere is not of this part"
    assert [one["address"] for one in policy["findings"]] == ["playback-restriction-policy/eu"]
    assert (policy["managed"], policy["unchanged"], policy["unmanaged"], policy["drifted"], policy["pending"]) == (
        1,
        0,
        [],
        False,
        True,
    )
    assert any("(--only playback-restriction-policy/*); 3 findings skipped" in note for note in policy["notes"])
    code, key = part("--only", "stream-key/main")
    assert (code, key["findings"], key["managed"], key["unchanged"], key["defaults"]) == (0, [], 1, 1, 0)
    code, rest = part("--exclude", "channel/main", "--exclude", "channel/side")
    assert code == 2
    assert {one["address"] for one in rest["findings"]} == {"channel/third", "playback-restriction-policy/eu"}
    assert [one["name"] for one in rest["unmanaged"]] == ["theirs"]
    _, whole = part("-v")
    _, named = part("-v", "--only", "channel/main")
    assert named["defaultFields"] == [one for one in whole["defaultFields"] if one["address"] == "channel/main"]
    assert named["defaults"] == sum(len(one["fields"]) for one in named["defaultFields"]) < whole["defaults"]


@pytest.mark.parametrize("view", ["text", "markdown", "html", "junit"])
def test_every_view_says_that_it_is_of_a_part(folder: Path, view: str) -> None:
    shown = run(folder, "drift", "--only", "channel/side", "--format", view)
    assert shown.code == 2
    assert "channel/side" in shown.out
    assert "partial report" in shown.out
    assert "playback-restriction-policy/eu" not in shown.out


@pytest.mark.parametrize("option", ["--only", "--exclude"])
def test_a_misspelt_part_is_an_error(folder: Path, option: str) -> None:
    shown = run(folder, "drift", option, "channel/mian")
    assert (shown.code, shown.out) == (1, "")
    assert "did you mean channel/main or" in shown.err


def test_a_partial_report_is_neither_notified_nor_written_as_metrics(folder: Path, tmp_path: Path) -> None:
    shown = run(folder, "drift", "--only", "channel/main", "--notify", "--prometheus", str(tmp_path / "m.prom"))
    assert (shown.code, shown.out) == (1, "")
    assert (
        shown.err
        == "--notify and --prometheus cannot be combined with --only and --exclude: they report whole targets. Run drift twice\n"
    )


@pytest.mark.parametrize("view", ["text", "markdown", "html", "junit"])
def test_defaults_are_a_count_unless_verbose(folder: Path, view: str) -> None:
    short, long = run(folder, "drift", "--format", view), run(folder, "drift", "--format", view, "-v")
    assert "insecureIngest" not in short.out
    assert "insecureIngest false" in long.out
    (target,) = run(folder, "drift", "--format", "json", "-v").json["targets"]
    assert sum(len(one["fields"]) for one in target["defaultFields"]) == target["defaults"] > 10
    assert f"{target['defaults']} unset field" in short.out


def test_junit_has_a_suite_for_a_target_and_a_case_for_a_resource(folder: Path) -> None:
    shown = run(folder, "drift", "--format", "junit")
    assert shown.code == 2
    (suite,) = ET.fromstring(shown.out)
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert set(cases) == {
        "channel/main",
        "channel/side",
        "channel/third",
        "stream-key/main",
        "playback-restriction-policy/eu",
    }
    failures = {name: case.find("failure") for name, case in cases.items()}
    failed = {name: failure.get("type") for name, failure in failures.items() if failure is not None}
    assert failed == {"channel/main": "drift", "channel/side": "missing", "channel/third": "duplicate"}
    skipped = cases["playback-restriction-policy/eu"].find("skipped")
    assert skipped is not None
    assert '+   "FR"' in (skipped.get("message") or "")
    assert len(cases["stream-key/main"]) == 0, "a resource that is as the spec says passes"


def test_a_target_that_cannot_be_read_is_reported_beside_the_others(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"main": {}}})
    project = (folder / "ivs-reconciler.yaml").read_text(encoding="utf-8")
    broken = '  away: {region: us-west-2, endpointUrl: "http://127.0.0.1:9"}\n'
    (folder / "ivs-reconciler.yaml").write_text(project.rstrip() + "\n" + broken, encoding="utf-8")
    keys = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}
    assert run(folder, "apply", "-t", "dev", "--auto-approve").code == 0
    shown = run(folder, "drift", "--format", "json", env=keys)
    assert shown.code == 1
    validator("drift").validate(shown.json)
    assert [one["name"] for one in shown.json["failed"]] == ["away"]
    whole = run(folder, "drift", "--format", "junit", env=keys)
    dev, away = ET.fromstring(whole.out)
    assert (dev.get("errors"), away.get("errors")) == ("0", "1")
