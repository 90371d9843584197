"""Secrets Manager and Parameter Store as moto plays them, behind a front that fails on request and asks whether a call is allowed.

Without sockets for a client that is attached, or over HTTP: both take the bytes that boto3 sends.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

from moto.moto_server.werkzeug_app import create_backend_app
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends
from werkzeug.test import Client

from reconciler.aws.session import open_client, open_session
from reconciler.model.target import Sink, Store, Target
from reconciler.sandbox.embedded import Transport
from reconciler.sandbox.faults import Fault, FaultRules, Subject
from reconciler.sandbox.wire import Disruption, Request, Response
from tests.builders import ACCOUNT, REGION

Service = Literal["secretsmanager", "ssm"]

SERVICES: dict[str, Service] = {"secretsmanager": "secretsmanager", "AmazonSSM": "ssm"}
"""The text before the dot of ``X-Amz-Target``, and the service that IAM knows it as."""

_HERE = Target("here", REGION, sandbox="not used", paced=False)
_NOWHERE = "http://127.0.0.1:9"
_EVENTS = ("secrets-manager", "ssm")
_PAGE = b"<html><head><title>503 Service Unavailable</title></head><body>503</body></html>"
_DISRUPTIONS = {"reset": Disruption.RESET, "hang": Disruption.HANG, "truncate": Disruption.TRUNCATE}


@functools.cache
def _played(service: Service) -> Client:
    return Client(create_backend_app(service))


def is_for_a_store(request: Request) -> bool:
    """Whether a request is for one of the two services."""
    return request.headers.get("x-amz-target", "").partition(".")[0] in SERVICES


class Stores:
    """Both services, empty at first. ``allowed`` is asked of each action on each resource, as IAM would be."""

    def __init__(self, *, allowed: Callable[[str, str], bool] = lambda _action, _resource: True) -> None:
        self.allowed = allowed
        self.calls: list[str] = []
        self._rules = FaultRules(random.Random(3))
        self._clients: dict[str, Any] = {}
        self.reset()

    def add_fault(self, effect: str, **rule: Any) -> None:
        """Arm a rule, as with a sandbox."""
        self._rules.add(Fault(effect=effect, **rule))

    def clear_faults(self) -> None:
        self._rules.clear()

    def reset(self) -> None:
        """Forget everything that was written, called and armed."""
        secretsmanager_backends.reset()
        ssm_backends.reset()
        self.calls.clear()
        self._rules.clear()

    def client(self, service: str) -> Any:
        """Return a client of one service, made as the product makes it, that is answered from here."""
        if service not in self._clients:
            client = open_client(open_session(_HERE, _NOWHERE), service, _HERE, _NOWHERE, 4)
            for name in _EVENTS:
                client.meta.events.register(f"before-send.{name}", Transport(self.handle))
            self._clients[service] = client
        return self._clients[service]

    def value_of(self, sink: Sink) -> str | None:
        """Return what a sink holds, or ``None`` where it is not there."""
        if sink.store is Store.SECRETS_MANAGER:
            found = self._ask("secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": sink.name})
            return found and str(found["SecretString"])
        found = self._ask("ssm", "AmazonSSM.GetParameter", {"Name": sink.name, "WithDecryption": True})
        return found and str(found["Parameter"]["Value"])

    def hold(self, sink: Sink, value: str) -> None:
        """Create what a sink names, with a value."""
        if sink.store is Store.SECRETS_MANAGER:
            body = {"Name": sink.name, "SecretString": value}
            assert self._ask("secretsmanager", "secretsmanager.CreateSecret", body)
        else:
            assert self._ask(
                "ssm", "AmazonSSM.PutParameter", {"Name": sink.name, "Value": value, "Type": "SecureString"}
            )

    def handle(self, request: Request, source_ip: str = "") -> Response:
        """Answer one request of any kind."""
        del source_ip
        prefix, _, operation = request.headers["x-amz-target"].partition(".")
        service = SERVICES[prefix]
        self.calls.append(operation)
        body = json.loads(request.body)
        for action, resource in self._needed(service, operation, body):
            if not self.allowed(action, resource):
                return _error(
                    "AccessDeniedException",
                    f"User: somebody is not authorized to perform: {action} on resource: {resource}",
                )
        hit = self._rules.take(Subject(service=service, operation=operation))
        if hit.before is not None:
            return _failure(hit.before, None)
        done = self._done(service, request.headers, request.body)
        return done if hit.after is None else _failure(hit.after, done)

    def _done(self, service: Service, headers: Mapping[str, str], body: bytes) -> Response:
        answer = _played(service).post("/", data=body, headers=dict(headers))
        return Response(
            answer.status_code,
            (("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", "req-1")),
            answer.data,
        )

    def _ask(self, service: Service, target: str, body: Mapping[str, object]) -> Any:
        scope = f"Credential={ACCOUNT}/20260101/{REGION}/{service}/aws4_request"
        headers = {
            "X-Amz-Target": target,
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, Signature=x",
        }
        answer = self._done(service, headers, json.dumps(body).encode())
        return json.loads(answer.body) if answer.status == 200 else None

    def _needed(self, service: Service, operation: str, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what IAM is asked for.

        A secret that is named and not there is judged by its bare name, which no policy that names ARNs allows (seen by others, in messages of AWS's).
        """
        prefix = f"arn:aws:{service}:{REGION}:{ACCOUNT}"
        key = body.get("KmsKeyId") or body.get("KeyId")
        keyed = [
            (f"kms:{verb}", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}")
            for verb in ("GenerateDataKey", "Decrypt", "Encrypt")
            if key
        ]
        if service == "ssm":
            return [(f"ssm:{operation}", f"{prefix}:parameter/{body['Name'].lstrip('/')}"), *keyed]
        if operation == "CreateSecret":
            return [(f"secretsmanager:{operation}", f"{prefix}:secret:{body['Name']}-a1B2c3"), *keyed]
        found = self._ask("secretsmanager", "secretsmanager.DescribeSecret", {"SecretId": body["SecretId"]})
        return [(f"secretsmanager:{operation}", found["ARN"] if found else body["SecretId"]), *keyed]


def _failure(fault: Fault, done: Response | None) -> Response:
    match fault.effect:
        case "throttle":
            return _error("ThrottlingException", "Rate exceeded")
        case "error":
            # Both services answer every refusal with 400.
            return _error(fault.code, fault.message, 500 if fault.code == "InternalServerException" else 400)
        case "html":
            return Response(503, (("Content-Type", "text/html"),), _PAGE)
        case effect:
            whole = done or Response(500)
            return Response(whole.status, whole.headers, whole.body, disruption=_DISRUPTIONS[effect])


def _error(code: str, message: str, status: int = 400) -> Response:
    body = json.dumps({"__type": code, "message": message}).encode()
    return Response(status, (("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", "req-1")), body)
