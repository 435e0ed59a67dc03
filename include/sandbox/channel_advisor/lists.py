"""Lists: one page, its nextLink and serverTime.

In: a list request. Out: `{"value", "nextLink"?, "serverTime"}`, rows sorted by (UpdatedDate, id). Never: a row of a
profile that the token does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Request
from sandbox.kernel.store import Row
from sandbox.kernel.system import Handler, raw

if TYPE_CHECKING:
    from sandbox.kernel.system import System


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listSites": partial(list_sites, system),
        "listDistributionCenters": partial(list_distribution_centers, system),
    }


def list_sites(system: System, request: Request) -> Answer:
    return page(system, request, "site", {})


def list_distribution_centers(system: System, request: Request) -> Answer:
    return page(system, request, "distribution_center", {"profile": profiles(request)})


def profiles(request: Request) -> list[int]:
    """Profiles whose rows a list holds: those of the token, or the one of them that is asked for."""
    wanted = request.query.get("profileId")
    return [each for each in request.access.profiles if wanted in (None, each)]


def by_sku(request: Request) -> dict[str, list[Any]]:
    """The terms of a list of rows with an SKU: its profiles and, if the query says some, its SKUs."""
    where: dict[str, list[Any]] = {"profile": profiles(request)}
    if "sku" in request.query:
        where["sku"] = [sku.casefold() for sku in request.query["sku"]]
    return where


def page(
    system: System,
    request: Request,
    kind: str,
    where: Mapping[str, Sequence[Any]],
    show: Callable[[Row], Any] = raw,
) -> Answer:
    """One page of the rows whose terms have these values. serverTime was read before the query (`request.now`)."""
    with system.store.read() as tx:
        found = system.page(request, tx, kind, where)
    body: dict[str, Any] = {"value": [show(row) for row in found.rows]}
    if found.next:
        body["nextLink"] = next_link(request, found.next)
    return Answer(200, body | {"serverTime": clock.text(request.now)}, listed=found.listed)


def next_link(request: Request, cursor: str) -> str:
    """The absolute URL of the next page, with the query as it was sent."""
    sent = parse_qsl(request.raw_query, keep_blank_values=True)
    query = [(name, value) for name, value in sent if name.lower() != "cursor"]
    return f"{request.base_url}{request.raw_path}?{urlencode([*query, ('cursor', cursor)])}"
