"""An Amazon IVS control plane in a box: any AWS client, told only an endpoint, can use it.

It is driven by the service model inside the installed botocore and imports nothing else of this
project, so that it is an independent witness. The public Python API:

    from reconciler.sandbox import Sandbox

    with Sandbox() as sandbox:                      # a free port on 127.0.0.1, state in memory
        ivs = boto3.client("ivs", endpoint_url=sandbox.endpoint_url, region_name="us-west-2",
                           aws_access_key_id="123456789012", aws_secret_access_key="any")
        arn = ivs.create_channel(name="stage")["channel"]["arn"]
        sandbox.control.go_live(arn, viewers=7)     # the channel now refuses update and delete
        sandbox.control.add_fault("throttle", operation="UpdateChannel", times=3)

`Sandbox(db=None, *, port=0, host="127.0.0.1", serve=True, quotas=False, limits=None, auth="any",
accounts=None, buckets=None, strict_buckets=False, assume=None, settle_seconds=0.2, stop_seconds=0.2, clock=None,
seed=None)`; `.start()`, `.stop()`, `.endpoint_url`, `.control`, `.handle(request)`.

- The account is the access key id if that has 12 digits, else what `accounts` says, else
  123456789012; the region is the one the request was signed for (us-west-2 if unsigned).
- `db="file.db"` keeps the state in a SQLite file that several processes may open.
- `quotas=True` switches call-rate quotas (429) on; resource quotas (402) always hold and are
  changed with `limits={"channels": 50_000}`.
- `clock=VirtualClock()` stands still until `control.advance(seconds)`: CREATING then lasts until
  the clock is moved by `settle_seconds`.
- `buckets={"my-bucket": "eu-west-1"}`: a recording configuration in another region then fails as
  on the service; a bucket name containing "create-failed" ends in CREATE_FAILED anywhere.

`sandbox.control` (the same over HTTP as `POST /_sandbox/<name>` with a JSON object):
`go_live(arn, viewers=0, health="HEALTHY")`, `go_offline(arn)`, `set_health(arn, health)`,
`set_viewers(arn, viewers)`, `live()`; `add_fault(effect, operation="*", when="before", times=1,
skip=0, every=1, code=…, status=…, seconds=…, arn=…, account=…, access_key=…)` with effect throttle,
error, deny, expire, skew, reset, hang, truncate, delay or html, `deny(operation, arn="")` until
cleared, `faults()`, `clear_faults(effect="", operation="")`; `set_lag(create=0, delete=0)`,
`set_rates(True|False|{operation: per_second}, burst=None, windows=False)`,
`set_quota(name, value, account="", region="")`, `quotas(account="", region="")`;
`calls(operation="", account="", region="", limit=100)`, `clear_calls()`, `events(limit=100)`;
`resources(account, region)`, `worlds()`, `advance(seconds)`, `reset()`;
`assume(name, option)`, `assumptions()`: what is open about the service, answered otherwise.
A refusal raises `ControlError`.
"""

from __future__ import annotations

from reconciler.sandbox.auth import AccessKey
from reconciler.sandbox.control import Control, ControlError
from reconciler.sandbox.embedded import Sandbox
from reconciler.sandbox.settings import Clock, SystemClock, VirtualClock
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
