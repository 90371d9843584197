"""The models take what fits and change nothing of it: what passes is what was written."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from reconciler.model.target import HOME_REGIONS
from reconciler.spec.model_errors import faults_of
from reconciler.spec.models import MODELS
from reconciler.spec.project_models import ProjectFile

JUDGES: dict[str, type[BaseModel]] = {"project": ProjectFile, **{kind.value: model for kind, model in MODELS.items()}}

BODIES: dict[str, list[dict[str, Any]]] = {
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
    """Whether the model takes the value; what it takes has to be in it unchanged, and what it refuses has to have words."""
    try:
        judged = model.model_validate(value)
    except ValidationError:
        assert all(fault.what for fault in faults_of(model, value))
        return False
    assert repr(sorted_keys(judged.model_dump(exclude_unset=True, warnings=False))) == repr(sorted_keys(value))
    assert faults_of(model, value) == []
    return True


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a value."""
    below: list[tuple[Any, Any]] = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, item in below for place in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], how: str, new: Any = None) -> Any:
    """Return a copy with the value at the path replaced or removed, or with a member added beside it."""
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
    body: Any = draw(st.sampled_from(BODIES[name]))
    for _ in range(draw(st.integers(0, 2))):
        if not body or not isinstance(body, dict):
            break
        path = draw(st.sampled_from(places(body)[1:]))
        how = draw(st.sampled_from(["replace", "replace", "remove", "name", "tags", "protect", "value", "type", "a"]))
        body = changed(body, path, how, draw(VALUES))
    return body


@pytest.mark.parametrize("name", JUDGES)
def test_good_bodies_pass(name: str) -> None:
    assert all(says(JUDGES[name], body) for body in BODIES[name])


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
def test_a_model_converts_nothing_and_takes_no_unknown_field(name: str) -> None:
    for body in BODIES[name]:
        for path in places(body)[1:]:
            for value in STRANGE:
                says(JUDGES[name], changed(body, path, "replace", value))
            holder = path[:-1]
            if isinstance(path[-1], str) and "tags" not in holder:
                beside = changed(body, path, "unknown", "a")
                assert not says(JUDGES[name], beside), path


@pytest.mark.parametrize("name", JUDGES)
@given(data=st.data())
def test_a_damaged_body_passes_unchanged_or_is_refused_in_words(name: str, data: st.DataObject) -> None:
    says(JUDGES[name], data.draw(bodies(name)))
