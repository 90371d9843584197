"""A local Amazon IVS control plane for any AWS client, driven by the service model of the installed botocore.

It imports nothing else of this project, so that it is an independent check of it. Read `engine` first: it maps a request
to an answer. `registry` lists the services (`ivs/`), `supporting` answers for STS, Service Quotas, CloudFormation and CloudTrail, `http/` the transports and
pages, `state/` what is stored. `control` is what AWS clients cannot do. Options: `Sandbox`; use: docs/sandbox.md.
"""

from __future__ import annotations

from reconciler.sandbox.auth import AccessKey
from reconciler.sandbox.control import Control
from reconciler.sandbox.embedded import Sandbox
from reconciler.sandbox.settings import Clock, ControlError, SystemClock, VirtualClock
from reconciler.sandbox.state.store import StoreError

__all__ = ["AccessKey", "Clock", "Control", "ControlError", "Sandbox", "StoreError", "SystemClock", "VirtualClock"]
