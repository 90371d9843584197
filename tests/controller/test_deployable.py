"""What examples/controller promises, held against what the program is and does."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from reconciler.cli.main import build_parser
from reconciler.controller import metrics
from reconciler.controller.config import read_options
from reconciler.controller.state import Mode
from reconciler.drift import DriftStatus
from reconciler.drift.report import Finding
from reconciler.git.git import Trouble
from reconciler.model.address import Address
from reconciler.report import metrics as names
from tests.controller.process import running
from tests.controller.repos import Repo

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "controller"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def the(kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents() if document["kind"] == kind)
    return found


def pods() -> list[dict[str, Any]]:
    return [
        the("Deployment")["spec"]["template"]["spec"],
        the("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    ]


@pytest.mark.parametrize(
    "document", list(documents()), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_every_manifest_is_what_kubernetes_knows(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_there_is_one_replica_and_never_two() -> None:
    spec = the("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert the("CronJob")["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize("pod", pods(), ids=["deployment", "cronjob"])
def test_a_pod_may_do_no_more_than_it_must(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"], security["capabilities"]) == (
        True,
        False,
        {"drop": ["ALL"]},
    )
    assert not pod["automountServiceAccountToken"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"state", "tmp"}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] in {
        each["metadata"]["name"] for each in documents() if each["kind"] == "PersistentVolumeClaim"
    }
    paths = [mount["mountPath"] for mount in mounts.values()]
    assert not any(one != other and one.startswith(other + "/") for one in paths for other in paths), (
        "a mount inside a read-only one cannot be made"
    )


def test_names_and_labels_lead_to_each_other() -> None:
    template = the("Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    assert the("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels
    assert the("Service")["spec"]["selector"].items() <= labels
    assert the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert all(pod["serviceAccountName"] == the("ServiceAccount")["metadata"]["name"] for pod in pods())
    assert the("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
    (container,) = template["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]


def test_the_settings_are_read_as_they_stand_and_every_secret_is_mounted(tmp_path: Path) -> None:
    options = read_options(FOLDER / "controller.yaml")
    assert (options.mode, options.modes, options.intervals) == (
        Mode.OBSERVE,
        {"stage": Mode.APPLY, "prod": Mode.PLAN},
        {"prod": 300},
    )
    inside = tmp_path / "controller.yaml"
    inside.write_text(the("ConfigMap")["data"]["controller.yaml"], encoding="utf-8")
    read = read_options(inside)
    (mount,) = (
        mount["mountPath"] for mount in pods()[0]["containers"][0]["volumeMounts"] if mount["name"] == "secrets"
    )
    assert {
        str(Path(file).parent) for file in (read.token_file, read.control_token_file, *read.webhook_files.values())
    } == {mount}


def dockerfile() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", (FOLDER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_every_command_is_one_that_the_program_takes() -> None:
    entry = json.loads(dict(dockerfile())["ENTRYPOINT"])
    assert entry[0] == "ivs-reconciler"
    commands = [entry[1:] + pod["containers"][0]["args"] for pod in pods()]
    for unit in (FOLDER / "systemd").glob("*.service"):
        (line,) = re.findall(r"^ExecStart=\S+/ivs-reconciler (.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        commands.append(line.split())
    for command in commands:
        args = build_parser().parse_args(command)
        assert (args.command, args.config_file.endswith("controller.yaml")) == ("run", True)


def test_the_image_is_not_root_and_takes_its_bases_from_the_registry_of_the_builder() -> None:
    steps = dockerfile()
    assert [rest.split()[0] for word, rest in steps if word == "FROM"] == ["${PYTHON}", "${PYTHON}"]
    (default,) = (rest.partition("=")[2] for word, rest in steps if word == "ARG")
    assert "/" not in default
    user, _, group = dict(steps)["USER"].partition(":")
    assert (user, group) == (
        str(pods()[0]["securityContext"]["runAsUser"]),
        str(pods()[0]["securityContext"]["fsGroup"]),
    )
    copied = [rest.split()[:-1] for word, rest in steps if word == "COPY" and not rest.startswith("--from")]
    ignored = [
        line
        for line in (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    for source in (word for words in copied for word in words):
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, line[1:]) for line in ignored if line.startswith("!"))


def test_the_images_requirements_are_those_of_a_run_and_the_extra() -> None:
    def pinned(name: str) -> dict[str, str]:
        return dict(
            re.findall(
                r"^([a-z0-9.-]+)(==.*?)(?=^\S|\Z)",
                (ROOT / "requirements" / name).read_text(encoding="utf-8"),
                re.MULTILINE | re.DOTALL,
            )
        )

    run, controller, dev = pinned("run.txt"), pinned("controller.txt"), pinned("dev.txt")
    assert controller.items() >= run.items()
    assert controller.keys() - run.keys() == {"cronsim", "prometheus-client", "waitress", "werkzeug"}
    assert dev.items() >= controller.items()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed, so the units are not verified"
)
def test_the_units_are_what_systemd_knows(tmp_path: Path) -> None:
    for path in (FOLDER / "systemd").iterdir():
        text = path.read_text(encoding="utf-8").replace(
            "/opt/ivs-reconciler/bin/ivs-reconciler", str(Path(sys.executable).resolve())
        )
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    shown = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in shown.stderr.splitlines() if "ivs-reconciler" in line]
    assert (shown.returncode, ours) == (0, [])


def expressions() -> dict[str, str]:
    rules = [
        rule
        for group in yaml.safe_load((FOLDER / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    found = {rule["alert"]: rule["expr"] for rule in rules}
    assert len(found) == len(rules)
    assert all(
        {"summary", "description"} <= rule["annotations"].keys()
        and rule["labels"]["severity"] in {"critical", "warning", "info"}
        for rule in rules
    )
    board = json.loads((FOLDER / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    found |= {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    found |= {
        variable["name"]: variable["definition"]
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    }
    return found


def exported() -> dict[str, names.Metric]:
    return {
        metric.name: metric
        for module in (names, metrics)
        for metric in vars(module).values()
        if isinstance(metric, names.Metric)
    }


@pytest.mark.parametrize("title", list(expressions()))
def test_alerts_and_dashboard_ask_for_labels_and_values_that_there_are(title: str) -> None:
    expression = expressions()[title]
    values: dict[str, set[str]] = {
        "status": set(names.STATUSES),
        "trouble": set(Trouble),
        "outcome": {"sent", "failed", names.OK, names.THROTTLED, names.FAILED},
    }
    used = re.findall(r"(ivs_reconciler_[a-z_]+)(?:\{([^}]*)\})?", expression)
    assert used
    for name, matchers in used:
        metric = exported()[name.removesuffix("_bucket")]
        for label, value in re.findall(r'([a-z_]+)=~?"([^"]*)"', matchers):
            assert label in metric.labels
            assert value.startswith("$") or set(value.split("|")) <= values[label]


def test_a_running_controller_exports_every_metric_that_is_asked_for(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    target = {"region": "us-west-2", "sandbox": ".sandbox/dev.db"}
    repo.commit(
        {
            "ivs-reconciler.yaml": {"stack": "acme-live", "targets": {"dev": target}},
            "specs/live.yaml": {"channels": {"main-stage": {}}},
        }
    )
    with running(tmp_path, "--repo", str(repo.folder), "--fetch-interval", "1h", "--interval", "1h") as controller:
        controller.until_ready()
        _, text, headers = controller.ask("/metrics")
    assert headers["content-type"].startswith("text/plain")
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    requested = {
        name.removesuffix("_bucket")
        for expression in expressions().values()
        for name in re.findall(r"ivs_reconciler_[a-z_]+", expression)
    }
    assert requested <= typed.keys()
    known = exported()
    assert all(known[name].type == kind for name, kind in typed.items() if name in known)
    assert 'ivs_reconciler_resources{stack="acme-live",status="pending",target="dev"} 1.0' in text
    samples = set(re.findall(r"^(ivs_reconciler_[a-z_]+)", text, re.MULTILINE))
    assert {
        "ivs_reconciler_in_sync",
        "ivs_reconciler_api_calls_total",
        "ivs_reconciler_run_duration_seconds_bucket",
        "ivs_reconciler_repository_up",
    } <= samples


def test_the_alert_of_drift_has_every_status_that_is_drift() -> None:
    address = Address.parse("channel/a")
    drift = {status.value for status in DriftStatus if Finding(address, status, "").is_drift}
    (values,) = re.findall(r'status=~"([^"]+)"', expressions()["IvsReconcilerDrift"])
    assert set(values.split("|")) == drift
