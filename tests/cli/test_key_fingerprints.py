"""A key pair that the spec has by its fingerprint: adopted, tagged and protected, never created."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import outside, rewrite, run, stack
from tests.controller.git import commit, repository

KEYS = Path(__file__).parent.parent / "scenarios" / "keys"
OTHER = "53:fd:00:00:00:00:00:00:00:00:00:00:00:00:00:01"


def pairs(**entries: object) -> dict[str, object]:
    return {"playbackKeyPairs": entries}


def test_a_key_pair_is_adopted_by_its_fingerprint_and_never_created(tmp_path: Path) -> None:
    one, two = ((KEYS / name).read_text(encoding="utf-8") for name in ("one.pem", "two.pem"))
    folder = stack(repository(tmp_path / "repo"), {"channels": {}})
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n", encoding="utf-8")
    commit(folder, tag="base")
    with outside(folder) as (ivs, _):
        pair = ivs.import_playback_key_pair(name="web", publicKeyMaterial=one)["keyPair"]
    # Nothing has this key.
    rewrite(folder, pairs(web={"fingerprint": OTHER}))
    assert "differs in fingerprint, which cannot be changed in place" in run(folder, "plan", "--adopt").out
    assert f"{pair['arn']} has this name and fingerprint {pair['fingerprint']}" in run(folder, "plan").out
    assert run(folder, "apply", "--auto-approve", "--create-beside", "*").code == 3
    drift = run(folder, "drift")
    assert (drift.code, "its public key is not in the spec, and no playback key pair" in drift.out) == (5, True)
    # It is found by its key, whatever its letters.
    rewrite(folder, pairs(web={"fingerprint": pair["fingerprint"].upper(), "protect": True, "tags": {"team": "video"}}))
    head = commit(folder, tag="head")
    assert head
    compared = run(folder, "diff", "base..head")
    assert compared.code == 0
    assert "1 to adopt" in compared.out
    assert f"adopt playback-key-pair/web {pair['arn']}" in run(folder, "plan").out.replace("\n", " ")
    assert run(folder, "plan", "--adopt", "--out", "p.json").code == 0
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    for flags in ((), ("--adopt",)):
        assert run(folder, "plan", "--detailed-exitcode", *flags).code == 0
    assert run(folder, "drift").code == 0
    assert pair["fingerprint"] in run(folder, "outputs", "--format", "text").out
    # The same key written as PEM is no difference, and back.
    for written in ({"publicKeyMaterial": one}, {"fingerprint": pair["fingerprint"]}):
        rewrite(folder, pairs(web={**written, "protect": True, "tags": {"team": "video"}}))
        assert run(folder, "plan", "--detailed-exitcode").code == 0
    # Another fingerprint, or another name, would be a replacement, which has no key to import.
    tagged = {"tags": {"team": "video"}}
    rewrite(folder, pairs(web={"fingerprint": pair["fingerprint"], **tagged}))
    assert run(folder, "apply", "--auto-approve").code == 0
    for changed in ({"fingerprint": OTHER}, {"fingerprint": pair["fingerprint"], "name": "player"}):
        rewrite(folder, pairs(web={**changed, **tagged}))
        plan = run(folder, "plan")
        assert "blocked (no-public-key): its public key is not in the spec, so it cannot be imported" in plan.out
        assert f"restore the live {'name' if 'name' in changed else 'fingerprint'}" in plan.out
        assert run(folder, "apply", "--auto-approve").code == 3
    # The PEM of another key replaces it, as ever.
    rewrite(folder, pairs(web={"publicKeyMaterial": two, **tagged}))
    assert run(folder, "apply", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    with outside(folder) as (ivs, _):
        assert [one["arn"] for one in ivs.list_playback_key_pairs()["keyPairs"]] != [pair["arn"]]


def test_a_fingerprint_is_adopted_by_arn_and_pruned_like_any_other(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {}})
    with outside(folder) as (ivs, _):
        key = (KEYS / "one.pem").read_text(encoding="utf-8")
        pair = ivs.import_playback_key_pair(name="", publicKeyMaterial=key)["keyPair"]
    rewrite(folder, pairs(player={"fingerprint": pair["fingerprint"], "name": ""}))
    (folder / "adopt.yaml").write_text(f"playback-key-pair/player: {pair['arn']}\n", encoding="utf-8")
    assert run(folder, "apply", "--adopt-file", "adopt.yaml", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    rewrite(folder, {"channels": {}})
    assert run(folder, "apply", "--prune", "--allow-deletes", "1", "--allow-empty", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0
