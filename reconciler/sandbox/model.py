"""The service model: which operations exist, where they are routed, which errors they know.

It is read as plain JSON from the installed botocore, so that the server and a boto3 client on the
same machine agree by construction. botocore itself is located but never imported: that would cost
ten times the start-up.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JsonDict = dict[str, Any]

# Faults of the model itself. `ResourceArn` allows one letter before the slash ("[a-z-]/"), which no
# ARN of the service matches: enforced literally, every tag operation would fail.
PATTERN_CORRECTIONS: Mapping[str, str] = {
    "ResourceArn": "arn:aws:ivs:[a-z0-9-]+:[0-9]+:[a-z-]+/[a-zA-Z0-9-]+",
}

# Not marked sensitive in the model, but users paste private keys into it by mistake.
ALSO_SENSITIVE = frozenset({"PlaybackPublicKeyMaterial"})


class ModelNotFoundError(RuntimeError):
    """botocore, or its ivs model, is not installed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the model."""

    name: str
    method: str
    path: str
    status: int
    input: str | None
    output: str | None
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """The parts of a service model that the server needs."""

    version: str
    operations: Mapping[str, Operation]
    shapes: Mapping[str, JsonDict]
    errors: Mapping[str, int]


def data_file(service: str) -> Path:
    """Return the newest API version of a service model inside the installed botocore."""
    spec = importlib.util.find_spec("botocore")
    if spec is None or spec.origin is None:
        raise ModelNotFoundError("botocore is not installed; the sandbox reads the IVS model from it")
    versions = sorted((Path(spec.origin).parent / "data" / service).glob("*/service-2.json*"))
    if not versions:
        raise ModelNotFoundError(f"the installed botocore has no {service} model")
    return versions[-1]


def load(service: str = "ivs") -> ServiceModel:
    """Read and index the model."""
    path = data_file(service)
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    return index(json.loads(raw))


def index(document: JsonDict) -> ServiceModel:
    """Turn a model document into the look-ups of a server; also used with altered models in tests."""
    shapes = {name: _plain(name, shape) for name, shape in document["shapes"].items()}
    operations = {
        name: Operation(
            name=name,
            method=raw["http"]["method"],
            path=raw["http"]["requestUri"],
            status=raw["http"].get("responseCode", 200),
            input=raw.get("input", {}).get("shape"),
            output=raw.get("output", {}).get("shape"),
            errors=tuple(error["shape"] for error in raw.get("errors", ())),
        )
        for name, raw in document["operations"].items()
    }
    errors = {name: shape["error"]["httpStatusCode"] for name, shape in shapes.items() if shape.get("exception")}
    version = document.get("metadata", {}).get("apiVersion", "")
    return ServiceModel(version, operations, shapes, errors)


def _plain(name: str, shape: JsonDict) -> JsonDict:
    """Return a shape without its documentation (two thirds of the memory), faults of the model mended."""
    plain = {key: value for key, value in shape.items() if key != "documentation"}
    if name in PATTERN_CORRECTIONS:
        plain["pattern"] = PATTERN_CORRECTIONS[name]
    if name in ALSO_SENSITIVE:
        plain["sensitive"] = True
    if "members" in plain:
        plain["members"] = {
            member: {key: value for key, value in reference.items() if key != "documentation"}
            for member, reference in plain["members"].items()
        }
    return plain
