"""The services that the sandbox emulates in full, and look-ups over all of them.

Another service is a sub-package with a `Service` row, and its name in `SERVICES`.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sandbox.ivs.registry import IVS
from reconciler.sandbox.service import Handler, Kind, Service
from reconciler.sandbox.settings import ResourceQuota

SERVICES: Mapping[str, Service] = {service.name: service for service in (IVS,)}
HANDLERS: Mapping[tuple[str, str], Handler] = {
    (service.name, operation): handler
    for service in SERVICES.values()
    for operation, handler in service.handlers.items()
}
QUOTAS: Mapping[str, ResourceQuota] = {quota.name: quota for service in SERVICES.values() for quota in service.quotas}


def kind_of(arn: str) -> Kind | None:
    """Return the kind of resource that an ARN names."""
    parts = arn.split(":")
    service = SERVICES.get(parts[2]) if len(parts) == 6 else None
    return service.kinds.get(parts[5].partition("/")[0]) if service else None
