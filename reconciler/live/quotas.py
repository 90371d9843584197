"""Which quotas apply, from Service Quotas. Nothing depends on an answer: without one, the documented defaults stand."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from reconciler.errors import AwsError
from reconciler.model.quotas import Applied

SERVICE = "ivs"
_PAGES = 20


def read_quotas(client: Any) -> Applied:  # boto3 builds its clients at run time
    """Ask once, without repeating: a plan must not wait long for what it can do without."""
    from reconciler.live.translate import BOTO_ERRORS, to_aws_error

    found: dict[str, int] = {}
    token = ""
    try:
        with closing(client):
            for _ in range(_PAGES):
                answer = client.list_service_quotas(
                    ServiceCode=SERVICE, MaxResults=100, **({"NextToken": token} if token else {})
                )
                found.update(
                    (str(row["QuotaCode"]), int(row["Value"]))
                    for row in answer.get("Quotas") or ()
                    if "QuotaCode" in row and row.get("Value") is not None
                )
                token = str(answer.get("NextToken") or "")
                if not token:
                    break
    except BOTO_ERRORS as error:
        return Applied(why_not=_why(to_aws_error(error, "ListServiceQuotas", writes=False)))
    return Applied(found) if found else Applied(why_not="Service Quotas names none for IVS")


def _why(error: AwsError) -> str:
    return f"{error.code}: {error}" if error.code and error.code not in str(error) else str(error)
