"""Whatever an account holds, its export validates, and adopting it by the adopt file leaves an empty plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.export.exporter import Export, Filters, Known, Split, adopt_text, export, select, spec_files
from reconciler.model.address import ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, LISTED
from reconciler.model.resource import LiveResource, LiveState, canonical
from reconciler.model.target import Project
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import PlanOptions, Verb
from reconciler.spec.desired import load_desired
from reconciler.spec.keys import read_public_key
from reconciler.spec.project import load_project
from tests.builders import ACCOUNT, REGION
from tests.plan.service import Service
from tests.sandbox.helpers import PUBLIC_KEY

NAMES = ("", "main", "main", "dup", "dup", "-", "_x", "NO", "123", "0o17", "1e5", "null", "channel-a1", "a" * 128)
TEXTS = ("keynote", "студия", "NO", "yes", "12", "1e5", "", "a: b", "@1", " x ", "=", "-", "null", "日本 @/+")
TAGS = st.dictionaries(
    st.sampled_from(("team", "event", "Сцена", "no", "1", "aws-like")), st.sampled_from(TEXTS), max_size=3
)
PEMS = (PUBLIC_KEY, (Path(__file__).parent.parent / "spec" / "keys" / "good.pem").read_text())
KEYS = {key.fingerprint: key.pem for key in map(read_public_key, PEMS)}
DEFAULTS: tuple[dict[str, Any], ...] = (
    {},
    {"tags": {"team": "video"}},
    {"channel": {"latencyMode": "NORMAL", "authorized": True, "name": "{target}-{id}", "tags": {"event": "{id}"}}},
    {"tags": {"team": "{stack}"}, "channel": {"type": "ADVANCED_HD", "preset": "CONSTRAINED_BANDWIDTH_DELIVERY"}},
    {"channel": {"multitrackInputConfiguration": {"enabled": False}, "insecureIngest": False, "containerFormat": "TS"}},
)


def _maybe(draw: Callable[[Any], Any], **fields: st.SearchStrategy[Any]) -> dict[str, Any]:
    return {name: draw(values) for name, values in fields.items() if draw(st.booleans())}


def _item(draw: Callable[[Any], Any], kind: KindName, arns: dict[KindName, list[str]]) -> dict[str, Any]:
    """What AWS answers for a resource: defaults filled in, left out or null, lists in any order."""
    match kind:
        case KindName.RECORDING_CONFIGURATION:
            return {
                "destinationConfiguration": {"s3": {"bucketName": draw(st.sampled_from(["vod", "1e5", "012.3"]))}},
                **_maybe(
                    draw,
                    recordingReconnectWindowSeconds=st.sampled_from([0, 60]),
                    thumbnailConfiguration=st.sampled_from(
                        [
                            {"recordingMode": "DISABLED"},
                            {"recordingMode": "INTERVAL", "targetIntervalSeconds": 60, "storage": ["SEQUENTIAL"]},
                            {
                                "recordingMode": "INTERVAL",
                                "targetIntervalSeconds": 9,
                                "storage": ["SEQUENTIAL", "LATEST"],
                            },
                            {"recordingMode": "INTERVAL", "targetIntervalSeconds": 60, "resolution": "HD"},
                        ]
                    ),
                    renditionConfiguration=st.sampled_from(
                        [
                            {"renditionSelection": "ALL", "renditions": ["HD", "SD"]},
                            {"renditionSelection": "ALL"},
                            {"renditionSelection": "NONE", "renditions": []},
                            {"renditionSelection": "CUSTOM", "renditions": ["SD", "HD"]},
                        ]
                    ),
                ),
            }
        case KindName.FAILOVER_SLATE_CONFIGURATION:
            return _maybe(
                draw, activationThresholdSeconds=st.integers(3, 5), maxSlateDisplaySeconds=st.sampled_from([60, 90])
            )
        case KindName.PLAYBACK_KEY_PAIR:
            return {"fingerprint": draw(st.sampled_from([*KEYS]))}
        case KindName.PLAYBACK_RESTRICTION_POLICY:
            return _maybe(
                draw,
                allowedCountries=st.lists(st.sampled_from(["NO", "DE", "FR"]), unique=True),
                allowedOrigins=st.sampled_from([[], ["https://b.example", "https://a.example"]]),
                enableStrictOriginEnforcement=st.booleans(),
            )
        case KindName.AD_CONFIGURATION:
            ad = f"arn:aws:mediatailor:{REGION}:{ACCOUNT}:playbackConfiguration/"
            return {
                "mediaTailorPlaybackConfigurations": draw(
                    st.sampled_from([[{"playbackConfigurationArn": ad + "b"}, {"playbackConfigurationArn": ad + "a"}]])
                ),
                **_maybe(
                    draw,
                    postRollConfiguration=st.sampled_from(
                        [{"enabled": False, "durationSeconds": 15}, {"enabled": True, "durationSeconds": 30}]
                    ),
                ),
            }
        case KindName.CHANNEL:
            return _channel(draw, arns)
        case _:
            raise AssertionError(kind)


def _channel(draw: Callable[[Any], Any], arns: dict[KindName, list[str]]) -> dict[str, Any]:
    item = _maybe(
        draw, latencyMode=st.sampled_from(["LOW", "NORMAL"]), authorized=st.booleans(), insecureIngest=st.booleans()
    )
    shape = draw(st.sampled_from(["plain", "standard", "basic", "advanced", "fragmented", "multitrack"]))
    off = {"enabled": False, "policy": "ALLOW", "maximumResolution": "HD"}
    on = {"enabled": True, "policy": "REQUIRE", "maximumResolution": "FULL_HD"}
    shapes: dict[str, dict[str, Any]] = {
        "plain": {},
        "standard": {"type": "STANDARD", "preset": "", "containerFormat": "TS", "multitrackInputConfiguration": off},
        "basic": {"type": "BASIC", "preset": None},
        "advanced": {
            "type": "ADVANCED_HD",
            "preset": draw(st.sampled_from(["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"])),
        },
        "fragmented": {"containerFormat": "FRAGMENTED_MP4"},
        "multitrack": {"containerFormat": "FRAGMENTED_MP4", "multitrackInputConfiguration": on},
    }
    item |= shapes[shape]
    for field in KINDS[KindName.CHANNEL].fields:
        if field.references is not None and not (shape in ("fragmented", "multitrack") and field.name[:2] == "ad"):
            item[field.name] = draw(st.sampled_from(["", *arns.get(field.references, ())]))
    return item


@st.composite
def accounts(draw: Callable[[Any], Any]) -> LiveState:
    """An account: some resources of each kind, of no stack, of this one, and of another."""
    arns: dict[KindName, list[str]] = {}
    resources: dict[KindName, tuple[LiveResource, ...]] = {}
    number = 0
    for kind, row in LISTED.items():
        found: list[LiveResource] = []
        seen: set[object] = set()
        for _ in range(draw(st.integers(0, 2 if row.quota and row.quota.default < 4 else 4))):
            number += 1
            item = _item(draw, kind, arns)
            if row.unique and item[row.unique] in seen:
                continue
            seen.add(item.get(row.unique))
            arn = f"arn:aws:ivs:{REGION}:{ACCOUNT}:{row.arn_type}/a{number}"
            name = draw(st.sampled_from(NAMES))
            owner = draw(
                st.sampled_from([{}, {}, {}, {}, {STACK: "acme", ID: f"own-{number}"}, {STACK: "other", ID: "main"}])
            )
            properties = canonical(kind, {**item, **({"name": name} if name or draw(st.booleans()) else {})})
            found.append(LiveResource(kind, arn, properties, {**draw(TAGS), **owner}, state=row.ready))
            arns.setdefault(kind, []).append(arn)
        resources[kind] = tuple(found)
    keys = [
        LiveResource(
            KindName.STREAM_KEY, channel.arn.replace("channel/", "stream-key/"), {"channelArn": channel.arn}, draw(TAGS)
        )
        for channel in resources[KindName.CHANNEL]
    ]
    return LiveState(ACCOUNT, REGION, {**resources, KindName.STREAM_KEY: tuple(keys)})


def exported(
    live: LiveState, project: Project, *, stream_keys: bool = False, taken: dict[Address, str] | None = None
) -> Export:
    keys = {str(key.properties["channelArn"]): key for key in live.of(KindName.STREAM_KEY)} if stream_keys else {}
    known = Known(taken=taken or {}, public_keys=dict([*KEYS.items()][:1]), stream_keys=keys)
    return export(select(live, project.stack, Filters()), project, project.targets["dev"], ACCOUNT, known)


def project_in(folder: Path, defaults: dict[str, Any]) -> Project:
    content = {"stack": "acme", "defaults": defaults, "targets": {"dev": {"region": REGION, "accountId": ACCOUNT}}}
    (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return load_project(folder)


def written(folder: Path, files: dict[str, str]) -> None:
    shutil.rmtree(folder / "specs", ignore_errors=True)
    (folder / "specs").mkdir()
    for name, text in files.items():
        (folder / "specs" / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round-trip")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(accounts(), st.sampled_from(DEFAULTS), st.booleans(), st.sampled_from(["kind", "none", "tag:team"]))
def test_an_export_is_adopted_without_a_change_and_planned_to_empty(
    folder: Path, live: LiveState, defaults: dict[str, Any], stream_keys: bool, split: str
) -> None:
    project = project_in(folder, defaults)
    found = exported(live, project, stream_keys=stream_keys)
    assert found.gaps == ()
    files = spec_files(found.entries, Split.parse(split))
    written(folder, files)
    if not files:
        return
    spec = load_desired(project, project.targets["dev"])
    theirs = [resource for kind in LISTED for resource in live.of(kind) if resource.tags.get(STACK) == "other"]
    assert len([one for one in spec.resources if one.kind is not KindName.STREAM_KEY]) == (
        sum(len(live.of(kind)) for kind in LISTED) - len(theirs)
    )
    adopt = {
        Address.parse(address): arn
        for address, arn in (yaml.safe_load(adopt_text({"dev": found.adopt}, by_target=False)) or {}).items()
    }
    plan = build_plan(spec, live, PlanOptions(), target_name="dev", adopt=adopt)
    for action in plan.actions:
        assert action.blocked is None, action
        assert action.verb is Verb.ADOPT or action.address in {one.address for one in found.entries} - {*adopt}
        changed = [change.path for change in action.changes]
        assert all(path.startswith("/tags/ivs-reconciler:") for path in changed), (action.address, changed)
    after = Service(live).run(plan)
    assert build_plan(spec, after, PlanOptions(), target_name="dev").actions == ()
    # The same account gives the same text, whatever the order of AWS's lists.
    mixed = LiveState(ACCOUNT, REGION, {kind: tuple(reversed(group)) for kind, group in live.resources.items()})
    assert spec_files(exported(mixed, project, stream_keys=stream_keys).entries, Split.parse(split)) == files
