"""The quick yes of ``shapes.json`` is the yes of the models: never more, and for everything that can be written, never less."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from reconciler.model.target import HOME_REGIONS
from reconciler.spec import shapes, write_shapes
from reconciler.spec.models import MODELS
from reconciler.spec.project_models import ProjectFile

JUDGES: dict[str, type[BaseModel]] = {
    shapes.PROJECT: ProjectFile,
    **{kind.value: model for kind, model in MODELS.items()},
}

GOOD: dict[str, list[dict[str, Any]]] = {
    "project": [
        {
            "stack": "a",
            "specs": ["specs/*.yaml"],
            "defaults": {"tags": {"team": "video"}, "channel": {"type": "BASIC", "authorized": True}},
            "targets": {"dev": {"region": HOME_REGIONS[0], "accountId": "123456789012", "prune": True}},
            "guardrails": {"maxDeletes": None, "maxDeletePercent": 30, "onLive": "block"},
            "ignoreTags": ["x*"],
        },
        {"stack": "a", "targets": {"dev": {"region": HOME_REGIONS[0], "sandbox": "x.db", "rateLimits": "off"}}},
    ],
    "channel": [
        {
            "name": "a",
            "latencyMode": "LOW",
            "tags": {"a": "b"},
            "streamKey": {"tags": {"c": "d"}},
            "ignoreChanges": ["tags/a"],
        },
        {
            "multitrackInputConfiguration": {"enabled": True, "policy": "ALLOW", "maximumResolution": "HD"},
            "recordingConfiguration": "archive",
        },
        {
            "adConfigurationArn": "arn:aws:ivs:us-west-2:123456789012:ad-configuration/abc",
            "preset": "HIGHER_BANDWIDTH_DELIVERY",
            "protect": False,
        },
    ],
    "recording-configuration": [
        {
            "destinationConfiguration": {"s3": {"bucketName": "acme-vod"}},
            "thumbnailConfiguration": {
                "recordingMode": "INTERVAL",
                "targetIntervalSeconds": 30,
                "resolution": "HD",
                "storage": ["LATEST"],
            },
            "renditionConfiguration": {"renditionSelection": "CUSTOM", "renditions": ["HD"]},
            "recordingReconnectWindowSeconds": 60,
        }
    ],
    "playback-key-pair": [
        {"publicKeyMaterial": "-----BEGIN"},
        {"publicKeyMaterial": {"file": "keys/a.pem"}, "tags": {"a": ""}},
    ],
    "playback-restriction-policy": [
        {"allowedCountries": ["DE"], "allowedOrigins": ["https://example.com"], "enableStrictOriginEnforcement": True}
    ],
    "ad-configuration": [
        {
            "mediaTailorPlaybackConfigurations": [
                {"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/a"}
            ],
            "postRollConfiguration": {"enabled": True, "durationSeconds": 15},
        }
    ],
    "failover-slate-configuration": [
        {"activationThresholdSeconds": 3, "minSlateDisplaySeconds": 3, "maxSlateDisplaySeconds": 60}
    ],
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 301),
    st.floats(),
    st.sampled_from(
        [
            "",
            "a",
            "a b",
            "LOW",
            "STANDARD",
            "x" * 129,
            "DE",
            "https://a",
            "true",
            "1",
            "123456789012",
            "arn:aws:ivs:us-west-2:1:channel/a",
        ]
    ),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def says(model: type[BaseModel], value: object) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a value."""
    below: list[tuple[Any, Any]] = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, item in below for place in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], how: str, new: Any = None) -> Any:
    """Return a copy with what stands at the path replaced or removed, or with a member added beside it."""
    copied = copy.deepcopy(value)
    *above, last = path
    holder = copied
    for part in above:
        holder = holder[part]
    if how == "replace":
        holder[last] = new
    elif how == "remove":
        del holder[last]
    elif isinstance(holder, dict):
        holder[how] = new
    return copied


@st.composite
def bodies(draw: st.DrawFn, name: str) -> Any:
    """Draw a good body with something in it replaced, taken out or added."""
    body: Any = draw(st.sampled_from(GOOD[name]))
    for _ in range(draw(st.integers(0, 2))):
        if not body or not isinstance(body, dict):
            break
        path = draw(st.sampled_from(places(body)[1:]))
        how = draw(st.sampled_from(["replace", "replace", "remove", "name", "tags", "protect", "value", "type", "a"]))
        body = changed(body, path, how, draw(VALUES))
    return body


def test_the_file_is_what_the_models_mean() -> None:
    assert shapes.PATH.read_text(encoding="utf-8") == write_shapes.shapes_text(), "write it anew with: make schemas"


@pytest.mark.parametrize("name", JUDGES)
def test_every_model_has_its_shape_and_good_bodies_pass(name: str) -> None:
    for body in GOOD[name]:
        assert says(JUDGES[name], body)
        assert shapes.accepts(name)(body)


STRANGE: tuple[Any, ...] = (
    None,
    0,
    1,
    1.0,
    True,
    "",
    "true",
    "1",
    "a b",
    b"a",
    [],
    ["a"],
    ("a",),
    {},
    {"a": 1},
    {"a": "b"},
)


@pytest.mark.parametrize("name", JUDGES)
def test_a_shape_converts_nothing_and_takes_no_unknown_field(name: str) -> None:
    for body in GOOD[name]:
        for path in places(body)[1:]:
            for value in STRANGE:
                replaced = changed(body, path, "replace", value)
                assert shapes.accepts(name)(replaced) == says(JUDGES[name], replaced), (path, value)
            beside = changed(body, path, "unknown", "a")
            assert shapes.accepts(name)(beside) == says(JUDGES[name], beside), path


@pytest.mark.parametrize("name", JUDGES)
@given(data=st.data())
def test_a_shape_says_what_its_model_says(name: str, data: st.DataObject) -> None:
    body = data.draw(bodies(name))
    assert shapes.accepts(name)(body) == says(JUDGES[name], body)


def test_another_engine_than_the_one_of_the_file_leaves_everything_to_the_models(tmp_path: Path) -> None:
    """An installed pydantic-core may be newer than the file; a copy of the package with such a file stands for it."""
    import shutil

    copied = tmp_path / "reconciler"
    shutil.copytree(Path(shapes.__file__).parent.parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    path = copied / "spec" / "shapes.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), "pydanticCore": "0.0.0"}), encoding="utf-8"
    )
    (tmp_path / "specs").mkdir()
    (tmp_path / "ivs-reconciler.yaml").write_text(
        f"stack: a\ntargets: {{dev: {{region: {HOME_REGIONS[0]}}}}}\n", encoding="utf-8"
    )
    (tmp_path / "specs" / "a.yaml").write_text("channels: {a: {type: BASIC}, b: {typ: BASIC}}\n", encoding="utf-8")
    script = "import reconciler, sys; from reconciler.cli.main import main; print(reconciler.__file__); sys.exit(main(['validate']))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert str(copied) in ran.stdout
    assert ran.returncode == 1
    assert "channel/b: unknown field" in ran.stderr
    assert "channel/a" not in ran.stderr


def test_a_good_spec_is_loaded_without_the_models(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "ivs-reconciler.yaml").write_text(
        f"stack: a\ntargets: {{dev: {{region: {HOME_REGIONS[0]}}}}}\n", encoding="utf-8"
    )
    (tmp_path / "specs" / "a.yaml").write_text("channels: {a: {type: BASIC}}\n", encoding="utf-8")
    script = "import sys; from reconciler.cli.main import main; main(['validate']); print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert not {"pydantic", "boto3", "botocore", "deepdiff"} & set(ran.stdout.split())
