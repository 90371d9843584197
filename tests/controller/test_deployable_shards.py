"""What examples/kubernetes promises: manifests that Kubernetes knows, numbers that agree, and commands that do what they say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from reconciler.cli.main import build_parser
from tests.cli.support import run
from tests.controller.repos import Repo
from tests.preloaded import write_program

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "kubernetes"
JOBS = ("20-drift.yaml", "30-plan.yaml")


def documents() -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def job(name: str) -> dict[str, Any]:
    """Return the specification of a Job, of a CronJob too."""
    spec: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["spec"]
    return spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec


def stateful_set() -> dict[str, Any]:
    (found,) = (document for document in documents() if document["kind"] == "StatefulSet")
    return found


@pytest.mark.parametrize(
    "document", list(documents()), ids=lambda document: f"{document['kind']}-{document['metadata'].get('name', 'plan')}"
)
def test_every_manifest_is_what_kubernetes_knows(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_pods_may_do_no_more_than_they_must() -> None:
    for pod in (*(job(name)["template"]["spec"] for name in JOBS), stateful_set()["spec"]["template"]["spec"]):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert pod["serviceAccountName"] == "ivs-reconciler"
        volumes = {volume["name"] for volume in pod["volumes"]} | {"state"}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            security = container["securityContext"]
            assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        if "initContainers" in pod:  # the token of the repository is for the clone alone
            mounts = [mount["name"] for mount in pod["containers"][0]["volumeMounts"]]
            assert "secrets" not in mounts


def test_a_job_runs_every_shard_and_one_that_fails_stops_no_other() -> None:
    for name in JOBS:
        spec = job(name)
        (script,) = (container["command"][-1] for container in spec["template"]["spec"]["containers"])
        assert (spec["completionMode"], f"--shard auto/{spec['completions']} " in script) == ("Indexed", True)
        assert "backoffLimitPerIndex" in spec
        assert "backoffLimit" not in spec


def test_the_ordinal_of_a_pod_is_its_shard() -> None:
    spec = stateful_set()["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    args = build_parser().parse_args(["run", *(word.replace("auto/", "1/") for word in container["args"])])
    assert args.shard.total == spec["replicas"]
    assert f"--shard=auto/{spec['replicas']}" in container["args"]
    (variable,) = container["env"]
    assert variable["name"] == "IVS_RECONCILER_SHARD_INDEX"
    assert "apps.kubernetes.io/pod-index" in variable["valueFrom"]["fieldRef"]["fieldPath"]
    (service,) = (document for document in documents() if document["kind"] == "Service")
    assert spec["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["state"]


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with a repository of four targets, and the program on the search path."""
    program = tmp_path / "bin" / "ivs-reconciler"
    program.parent.mkdir()
    write_program(program)
    repo = Repo(tmp_path / "repo")
    targets = {
        f"t{n}": {"region": "us-west-2", "accountId": f"{200_000_000_000 + n}", "sandbox": f".sandbox/{n}.db"}
        for n in range(4)
    }
    repo.commit(
        {"ivs-reconciler.yaml": {"stack": "acme", "targets": targets}, "specs/live.yaml": {"channels": {"one": {}}}}
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "git-token").write_text("ghp_1", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("name", "code"), [("20-drift.yaml", 5), ("30-plan.yaml", 0)])
def test_the_pods_of_a_job_write_the_files_of_one_report(cluster: Path, name: str, code: int) -> None:
    spec = job(name)
    pod = spec["template"]["spec"]
    repo = Repo.__new__(Repo)
    repo.folder = cluster / "repo"
    for index in range(spec["completions"]):
        inside = cluster / f"pod-{index}"
        inside.mkdir()
        env = {
            **os.environ,
            "REPOSITORY": str(cluster / "repo"),
            "REVISION": repo.head,
            "RUN": "job-7",
            "JOB_COMPLETION_INDEX": str(index),
            "PATH": f"{cluster / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        codes = []
        for container in (*pod["initContainers"], *pod["containers"]):
            shell, flags, script = container["command"]
            for path in ("/work/", "/secrets/"):
                script = script.replace(path, f"{inside if path == '/work/' else cluster}{path}")
            script = script.replace("/reports/", f"{cluster}/reports/")
            done = subprocess.run(
                [shell, flags, script], cwd=inside, env=env, capture_output=True, text=True, check=False
            )
            codes.append(done.returncode)
        assert codes in ([0, code], [0, 0]), done.stderr
        if index == 0:  # a run that failed before left no report, not even an empty one
            done = subprocess.run(
                [shell, flags, script],
                cwd=inside,
                env={**env, "JOB_COMPLETION_INDEX": "9"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 1
            assert "of 4 it is from 0 to 3" in done.stderr
    files = sorted(map(str, (cluster / "reports" / "job-7").iterdir()))
    assert len(files) == 4
    words = ("drift", "--from", *files) if code else ("show", *files)
    merged = run(cluster, *words, "--format", "json")
    assert merged.code == code, merged.err
    assert [target["name"] for target in json.loads(merged.out)["targets"]] == ["t0", "t1", "t2", "t3"]
    assert "shards" not in json.loads(merged.out)
