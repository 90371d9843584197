"""What every target holds, read at the same time; a target that fails is reported beside the others."""

from __future__ import annotations

from reconciler.errors import AwsError
from reconciler.live.connect import connect
from reconciler.live.overview import read_overview
from reconciler.model.overview import Overview
from reconciler.model.target import Target
from reconciler.pipeline.survey import Opening, failure_of, for_each


def overviews(
    stack: str, targets: tuple[Target, ...], *, opening: Opening = connect
) -> tuple[tuple[Overview, ...], AwsError | None]:
    """Return what could be read, and what failed, as one error with a line for each target."""

    def read(target: Target) -> Overview | AwsError:
        try:
            with opening(target) as connection:
                return read_overview(
                    connection.gateway,
                    connection.quotas,
                    stack,
                    name=target.name,
                    account_id=connection.account_id,
                    region=connection.region,
                )
        except AwsError as error:
            return error

    found = for_each(targets, read)
    return tuple(one for one in found if isinstance(one, Overview)), failure_of(targets, found)
