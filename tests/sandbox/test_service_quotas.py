"""Service Quotas for ivs: applied values follow what was set, pages, refusals (IVS facts 4.2)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.cli.sandbox import main
from reconciler.sandbox import ControlError, Sandbox
from reconciler.sandbox.registry import QUOTAS
from tests.sandbox.helpers import refusal

CHANNELS = "L-C01DFF58"
OVER = (402, "ServiceQuotaExceededException")


def applied(quotas: Any, code: str = CHANNELS) -> float:
    return float(quotas.get_service_quota(ServiceCode="ivs", QuotaCode=code)["Quota"]["Value"])


def test_a_quota_set_on_the_command_line_shows_as_applied_and_leaves_the_default(client: Any, sandbox: Sandbox) -> None:
    quotas = client("service-quotas")
    assert main(["sandbox", "quota", "channels", "7", "--endpoint", sandbox.endpoint_url]) == 0
    assert applied(quotas) == 7.0
    (listed,) = (row for row in quotas.list_service_quotas(ServiceCode="ivs")["Quotas"] if row["QuotaCode"] == CHANNELS)
    assert listed == quotas.get_service_quota(ServiceCode="ivs", QuotaCode=CHANNELS)["Quota"]
    assert quotas.get_aws_default_service_quota(ServiceCode="ivs", QuotaCode=CHANNELS)["Quota"]["Value"] == 5000.0
    assert listed["Adjustable"] is True


def test_a_quota_may_be_of_one_account_in_one_region(client: Any, sandbox: Sandbox) -> None:
    sandbox.control.set_quota("channels", 1, account="111122223333", region="eu-west-1")
    sandbox.control.set_quota("channels", 2)
    theirs, elsewhere = client(key="111122223333", region="eu-west-1"), client(key="111122223333")
    theirs.create_channel()
    assert refusal(theirs.create_channel) == OVER
    elsewhere.create_channel()
    elsewhere.create_channel()
    assert refusal(elsewhere.create_channel) == OVER
    assert applied(client("service-quotas", key="111122223333", region="eu-west-1")) == 1.0
    assert applied(client("service-quotas")) == 2.0
    assert sandbox.control.quotas(account="111122223333", region="eu-west-1")["channels"] == 1
    assert sandbox.control.quotas()["channels"] == 2
    with pytest.raises(ControlError, match="give both, or neither"):
        sandbox.control.set_quota("channels", 1, account="111122223333")


def test_quotas_come_in_pages_whose_tokens_fit_their_listing_only(client: Any) -> None:
    quotas = client("service-quotas")
    pages = list(
        quotas.get_paginator("list_service_quotas").paginate(ServiceCode="ivs", PaginationConfig={"PageSize": 3})
    )
    assert [len(page["Quotas"]) for page in pages] == [3, 3, 3, 1]
    assert [row["QuotaName"] for page in pages for row in page["Quotas"]] == [row.title for row in QUOTAS.values()]
    token = pages[0]["NextToken"]
    assert refusal(quotas.list_aws_default_service_quotas, ServiceCode="ivs", NextToken=token) == (
        400,
        "InvalidPaginationTokenException",
    )
    assert refusal(quotas.list_service_quotas, ServiceCode="ivs", NextToken="!") == (
        400,
        "InvalidPaginationTokenException",
    )
    assert refusal(quotas.list_service_quotas, ServiceCode="ivs", MaxResults=101) == (400, "IllegalArgumentException")
    defaults = quotas.get_paginator("list_aws_default_service_quotas").paginate(
        ServiceCode="ivs", PaginationConfig={"PageSize": 4}
    )
    assert sum(len(page["Quotas"]) for page in defaults) == len(QUOTAS)
    assert len(quotas.list_service_quotas(ServiceCode="ivs", QuotaCode=CHANNELS)["Quotas"]) == 1


def test_the_one_service_is_listed_and_others_do_not_exist(client: Any) -> None:
    quotas = client("service-quotas")
    assert [row["ServiceCode"] for row in quotas.list_services()["Services"]] == ["ivs"]
    absent = (400, "NoSuchResourceException")
    for service in ("ec2", "ivschat"):
        assert refusal(quotas.list_service_quotas, ServiceCode=service) == absent
        assert refusal(quotas.list_aws_default_service_quotas, ServiceCode=service) == absent
    assert refusal(quotas.get_service_quota, ServiceCode="ivs", QuotaCode="L-00000000") == absent


def test_an_unsupported_operation_of_a_supporting_service_is_unknown(client: Any) -> None:
    assert (
        refusal(client("service-quotas").list_requested_service_quota_change_history)[1] == "UnknownOperationException"
    )
    assert refusal(client("cloudtrail").list_trails)[1] == "UnknownOperationException"
    assert refusal(client("sts").get_session_token)[1] == "UnknownOperationException"
