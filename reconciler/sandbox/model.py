"""Service models: the operations of a service, their routes, shapes and errors.

They are read as JSON from the installed botocore, so that the sandbox and a boto3 client on the same machine agree.
botocore is located but not imported: that would take ten times the sandbox's start.
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

# An error in the models of the IVS services: `ResourceArn` allows one letter as the kind. Taken literally, every tag
# operation would fail.
_ONE_LETTER, _LETTERS = ":[a-z-]/", ":[a-z-]+/"

# Not marked sensitive in the model, but users paste private keys into it by mistake.
_ALSO_SENSITIVE = frozenset({("ivs", "PlaybackPublicKeyMaterial")})


class ModelNotFoundError(RuntimeError):
    """botocore, or its model of a service, is not installed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service.

    locations: the input members that are not in the body, with their location and name there.
    front_headers: its answer has header members (the batch operations).
    """

    service: str
    name: str
    method: str
    path: str
    status: int
    input: str | None
    output: str | None
    errors: tuple[str, ...]
    locations: Mapping[str, tuple[str, str]]
    front_headers: bool


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """The parts of a service model that the sandbox needs."""

    service: str
    version: str
    operations: Mapping[str, Operation]
    shapes: Mapping[str, JsonDict]
    errors: Mapping[str, int]


def _data_file(service: str) -> Path:
    """Return the path of the newest version of a service model in the installed botocore."""
    spec = importlib.util.find_spec("botocore")
    if spec is None or spec.origin is None:
        raise ModelNotFoundError("botocore is not installed; the sandbox reads its service models")
    versions = sorted((Path(spec.origin).parent / "data" / service).glob("*/service-2.json*"))
    if not versions:
        raise ModelNotFoundError(f"the installed botocore has no {service} model")
    return versions[-1]


def load(service: str = "ivs") -> ServiceModel:
    """Return the model of a service from the installed botocore. Raises ModelNotFoundError if it is not there."""
    path = _data_file(service)
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    return index(json.loads(raw), service)


def index(document: JsonDict, service: str = "ivs") -> ServiceModel:
    """Return the service model of a JSON document."""
    shapes = {name: _plain(service, name, shape) for name, shape in document["shapes"].items()}
    operations = {name: _operation(service, name, raw, shapes) for name, raw in document["operations"].items()}
    errors = {name: shape["error"]["httpStatusCode"] for name, shape in shapes.items() if shape.get("exception")}
    version = document.get("metadata", {}).get("apiVersion", "")
    return ServiceModel(service, version, operations, shapes, errors)


def _operation(service: str, name: str, raw: JsonDict, shapes: Mapping[str, JsonDict]) -> Operation:
    takes, gives = raw.get("input", {}).get("shape"), raw.get("output", {}).get("shape")
    return Operation(
        service=service,
        name=name,
        method=raw["http"]["method"],
        path=raw["http"]["requestUri"],
        status=raw["http"].get("responseCode", 200),
        input=takes,
        output=gives,
        errors=tuple(error["shape"] for error in raw.get("errors", ())),
        locations=_located(shapes, takes),
        front_headers=bool(_located(shapes, gives)),
    )


def _located(shapes: Mapping[str, JsonDict], name: str | None) -> dict[str, tuple[str, str]]:
    members = shapes[name]["members"] if name else {}
    return {
        member: (reference["location"], reference.get("locationName", member))
        for member, reference in members.items()
        if "location" in reference
    }


def _plain(service: str, name: str, shape: JsonDict) -> JsonDict:
    """Return a shape corrected, and without its documentation (two thirds of the memory)."""
    plain = {key: value for key, value in shape.items() if key != "documentation"}
    if name == "ResourceArn":
        plain["pattern"] = plain["pattern"].replace(_ONE_LETTER, _LETTERS)
    if (service, name) in _ALSO_SENSITIVE:
        plain["sensitive"] = True
    if "members" in plain:
        plain["members"] = {
            member: {key: value for key, value in reference.items() if key != "documentation"}
            for member, reference in plain["members"].items()
        }
    return plain
