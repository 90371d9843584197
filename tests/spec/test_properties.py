"""What holds for every document, not only for those with a test of their own."""

from __future__ import annotations

import json
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.spec.yaml import load as load_yaml
from tests.spec.support import PROJECT, load, problems_of, write

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
# Floats that PyYAML writes without a dot before the exponent, and its own YAML 1.1 readings, are not what is compared here.
NUMBER_IN_1_2 = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?|0o[0-7]+")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_json_is_read_as_json(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False)
    assert load_yaml("x", text.encode()).documents == [document]


def as_pyyaml_reads(document: Any) -> Any:
    """Mark the texts that PyYAML leaves without quotes because YAML 1.1 reads them as text, where YAML 1.2 reads a number."""
    if isinstance(document, dict):
        return {as_pyyaml_reads(key): as_pyyaml_reads(value) for key, value in document.items()}
    if isinstance(document, list):
        return [as_pyyaml_reads(item) for item in document]
    return f"text {document}" if isinstance(document, str) and NUMBER_IN_1_2.fullmatch(document) else document


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_what_pyyaml_writes_is_read_back(document: Any) -> None:
    document = as_pyyaml_reads(document)
    source = load_yaml("x", yaml.safe_dump(document, allow_unicode=True).encode())
    assert source.problems == []
    assert source.documents == [document]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text("ab:-&*!#[]{}<>,|'\"%@\n \t~.1", max_size=40).map(str.encode))
def test_no_bytes_break_the_loader(data: bytes) -> None:
    source = load_yaml("x", data)
    if source.problems:
        assert all(problem.what for problem in source.problems)
    else:
        source.mark(("a", 0, "b"))


SPEC_LIKE = st.recursive(
    SCALARS
    | st.sampled_from(["BASIC", "archive", "main", "arn:aws:ivs:us-west-2:1:channel/a", "-----BEGIN PUBLIC KEY-----"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "main",
                    "type",
                    "preset",
                    "name",
                    "tags",
                    "streamKey",
                    "s3",
                    "file",
                    "enabled",
                    "ignoreChanges",
                    "recordingConfiguration",
                    "recordingConfigurationArn",
                    "publicKeyMaterial",
                    "allowedCountries",
                    "allowedOrigins",
                    "destinationConfiguration",
                    "renditionConfiguration",
                    "thumbnailConfiguration",
                    "multitrackInputConfiguration",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
SECTIONS = st.sampled_from(
    [
        "channels",
        "recordingConfigurations",
        "playbackKeyPairs",
        "playbackRestrictionPolicies",
        "adConfigurations",
        "failoverSlateConfigurations",
        "x",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(SECTIONS, SPEC_LIKE, max_size=3))
def test_a_spec_of_any_shape_is_loaded_or_refused_in_words(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {"specs/a.yaml": json.dumps(document)})
        assert all(": " in problem for problem in problems_of(Path(folder)))


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["stack", "specs", "defaults", "targets", "guardrails", "ignoreTags"]), SPEC_LIKE, max_size=6
    )
)
def test_a_project_file_of_any_shape_is_loaded_or_refused_in_words(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert problems_of(write(Path(folder), {}, json.dumps(document)))


def a_spec() -> dict[str, dict[str, Any]]:
    return {
        "recordingConfigurations": {
            f"r{n}": {
                "destinationConfiguration": {"s3": {"bucketName": f"bucket-{n}"}},
                "thumbnailConfiguration": {"storage": ["LATEST", "SEQUENTIAL"], "resolution": "HD"},
            }
            for n in range(3)
        },
        "playbackRestrictionPolicies": {
            "p": {"allowedCountries": ["DE", "FR", "NO"], "allowedOrigins": ["https://a.example", "https://b.example"]}
        },
        "channels": {
            f"c{n}": {
                "recordingConfiguration": f"r{n % 3}",
                "tags": {"x": "1", "y": "2"},
                "type": "BASIC",
                "ignoreChanges": ["type", "tags/x"],
                "streamKey": {"tags": {"k": "v"}},
            }
            for n in range(12)
        },
    }


def shuffled(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        dice.shuffle(items)
        return {key: shuffled(item, dice) for key, item in items}
    if isinstance(value, list):
        return dice.sample(value, len(value))
    return value


def test_neither_order_nor_files_matter(tmp_path: Path) -> None:
    reference = load(write(tmp_path / "reference", {"specs/a.yaml": json.dumps(a_spec())}))
    for seed in range(8):
        dice = random.Random(seed)
        files: dict[str, dict[str, Any]] = {}
        for section, bodies in shuffled(a_spec(), dice).items():
            for identifier, body in bodies.items():
                files.setdefault(f"specs/{dice.randrange(5)}.yaml", {}).setdefault(section, {})[identifier] = body
        found = load(write(tmp_path / str(seed), {name: json.dumps(document) for name, document in files.items()}))
        assert found.digest == reference.digest
        assert list(found.resources) == list(reference.resources)
        for address, resource in found.resources.items():
            expected = reference.resources[address]
            assert (resource.properties, resource.tags, resource.digest, resource.ignore) == (
                expected.properties,
                expected.tags,
                expected.digest,
                expected.ignore,
            )


def test_resources_come_in_the_order_of_creation(tmp_path: Path) -> None:
    kinds = [address.kind.value for address in load(write(tmp_path, {"specs/a.yaml": json.dumps(a_spec())})).resources]
    assert list(dict.fromkeys(kinds)) == [
        "recording-configuration",
        "playback-restriction-policy",
        "channel",
        "stream-key",
    ]


def digest(folder: Path, channel: str, project: str = PROJECT) -> tuple[str, str]:
    state = load(write(folder, {"specs/a.yaml": f"channels: {{main: {channel}}}\n"}, project))
    (resource,) = state.resources.values()
    assert resource.tags["ivs-reconciler:spec"] == resource.digest
    return resource.digest, state.digest


def test_a_digest_depends_on_what_is_compared_and_on_nothing_else(tmp_path: Path) -> None:
    plain = digest(tmp_path, "{}")
    assert digest(tmp_path, "{latencyMode: LOW, tags: {}, name: main}") == plain
    assert digest(tmp_path, "{}", PROJECT.replace("acme", "acme", 1)) == plain
    assert digest(tmp_path, "{latencyMode: NORMAL}")[0] != plain[0]
    assert digest(tmp_path, "{tags: {k: v}}")[0] != plain[0]
    assert digest(tmp_path, "{latencyMode: NORMAL, ignoreChanges: [latencyMode]}")[0] == plain[0]
    assert digest(tmp_path, "{tags: {k: v}, ignoreChanges: [tags]}")[0] == plain[0]
    assert digest(tmp_path, "{tags: {k: v}, ignoreChanges: [tags/k]}")[0] == plain[0]
    assert digest(tmp_path, "{tags: {cost-a: v}}", PROJECT + "ignoreTags: [cost-*]\n")[0] == plain[0]


def test_protection_is_part_of_the_digest_and_what_is_ignored_of_the_whole_one(tmp_path: Path) -> None:
    plain = digest(tmp_path, "{}")
    protected = digest(tmp_path, "{protect: true}")
    assert protected[0] != plain[0]
    assert protected[1] != plain[1]
    assert digest(tmp_path, "{ignoreChanges: [type]}")[1] != plain[1]
    assert digest(tmp_path, "{}", PROJECT + "ignoreTags: [cost]\n")[1] != plain[1]
    assert digest(tmp_path, "{}", PROJECT.replace("acme", "other"))[1] != plain[1]


def test_a_digest_stays_what_it_was_in_earlier_versions(tmp_path: Path) -> None:
    assert digest(tmp_path, "{latencyMode: NORMAL, tags: {k: v}}")[0] == "eb73dee492967e9646872831a3a0d34e"
