"""A local Amazon IVS control plane for any AWS client, driven by the service model of the installed botocore.

It imports nothing else of this project, so that it is an independent check of it. Read `engine` first: it maps a request
to an answer. `registry` lists the services (`ivs/`), `supporting/` holds STS, Service Quotas and CloudTrail, `server`
and `inproc` are the transports, `control` is what AWS clients cannot do. The public Python API:

    from reconciler.sandbox import Sandbox

    with Sandbox() as sandbox:                      # a free port on 127.0.0.1, state in memory
        ivs = boto3.client("ivs", endpoint_url=sandbox.endpoint_url, region_name="us-west-2",
                           aws_access_key_id="123456789012", aws_secret_access_key="any")
        arn = ivs.create_channel(name="stage")["channel"]["arn"]
        sandbox.control.go_live(arn, viewers=7)     # now the channel cannot be updated or deleted
        sandbox.control.add_fault("throttle", operation="UpdateChannel", times=3)

`Sandbox(db=None, *, port=0, host="127.0.0.1", serve=True, quotas=False, limits=None, auth="any",
accounts=None, buckets=None, strict_buckets=False, assume=None, settle_seconds=0.2, stop_seconds=0.2, clock=None,
seed=None, post_events_to="")`; `.start()`, `.stop()`, `.endpoint_url`, `.attach(client)`, `.control`, `.handle(request)`.

- Account: the access key id if it has 12 digits, else the one in `accounts`, else 123456789012. Region: the one that
  the request is signed for (us-west-2 if unsigned).
- `db="file.db"` keeps the state in a SQLite file that several processes can open.
- `quotas=True` enables call-rate quotas (429). Resource quotas (402) always apply; `limits={"channels": 50_000}`
  changes them.
- `clock=VirtualClock()` is moved by `control.advance(seconds)` only, so CREATING lasts until then.
- `buckets={"my-bucket": "eu-west-1"}`: a recording configuration in another region fails, as on the service. A bucket
  name that contains "create-failed" ends in CREATE_FAILED in any region.

`sandbox.control`, and over HTTP `POST /_sandbox/<name>` with a JSON object:
`go_live(arn, viewers=0, health="HEALTHY")`, `go_offline(arn)`, `set_health(arn, health)`,
`set_viewers(arn, viewers)`, `live()`; `drift(arn, changes)`; `add_fault(effect, operation="*", when="before", times=1,
skip=0, every=1, code=…, status=…, seconds=…, arn=…, account=…, access_key=…)` with the effects throttle, error, deny,
expire, skew, reset, hang, truncate, delay and html, `deny(operation, arn="")`, `faults()`,
`clear_faults(effect="", operation="")`; `set_lag(create=0, delete=0)`,
`set_rates(True|False|{operation: per_second}, burst=None, windows=False)`,
`set_quota(name, value, account="", region="")`, `quotas(account="", region="")`;
`calls(operation="", account="", region="", limit=100)`, `clear_calls()`, `events(limit=100)`;
`resources(account, region)`, `worlds()`, `inventory(limit=100)`, `advance(seconds)`, `reset()`;
`assume(name, option)`, `assumptions()`; `conditions()`, `version()`. Each raises `ControlError` if it is not possible.
"""

from __future__ import annotations

from reconciler.sandbox.auth import AccessKey
from reconciler.sandbox.control import Control
from reconciler.sandbox.embedded import Sandbox
from reconciler.sandbox.settings import Clock, ControlError, SystemClock, VirtualClock
from reconciler.sandbox.store import StoreError

__all__ = [
    "AccessKey",
    "Clock",
    "Control",
    "ControlError",
    "Sandbox",
    "StoreError",
    "SystemClock",
    "VirtualClock",
]
