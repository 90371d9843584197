"""Our loader of service models finds what botocore's own finds."""

from __future__ import annotations

import json
from pathlib import Path

import botocore.session
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import create_loader

from reconciler.aws.models import service_models


@pytest.mark.parametrize("service", ["ivs", "sts", "sns", "secretsmanager"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1"])
def test_a_model_is_the_one_that_botocore_loads(service: str, kind: str) -> None:
    assert service_models().load_service_model(service, kind) == create_loader().load_service_model(service, kind)


@pytest.mark.parametrize("name", ["endpoints", "partitions"])
def test_other_files_are_the_ones_that_botocore_loads(name: str) -> None:
    assert service_models().load_data(name) == create_loader().load_data(name)


def test_the_services_are_those_of_botocore() -> None:
    ours, theirs = (
        service_models().list_available_services("service-2"),
        create_loader().list_available_services("service-2"),
    )
    assert list(ours) == list(theirs)
    assert "ivs" in ours
    assert "nonsense" not in ours


def test_an_unknown_service_is_refused_as_botocore_does() -> None:
    session = botocore.session.Session()
    session.register_component("data_loader", service_models())
    with pytest.raises(UnknownServiceError, match=r"Unknown service: .nonsense.\. Valid service names are: .*ivs"):
        session.create_client("nonsense", region_name="us-west-2")


def test_a_folder_of_models_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ivs" / "2020-07-14"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps({"mine": True}), encoding="utf-8")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert service_models().load_service_model("ivs", "service-2")["mine"]
    assert "operations" in service_models().load_service_model("sts", "service-2")
