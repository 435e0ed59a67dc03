"""What is not certain of the API v1, found out on the account at hand.

In: a client. Out: sentences. Never: a behaviour that depends on them: links are followed and cut lists are completed
whatever they say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from crossdock.errors import CrossdockError

Get = Callable[[str, dict[str, Any]], Any]
CUT = "@odata.nextLink"
NESTED = 20  # documented: the rows of a list within an order


def facts(get: Get, profile: str | None) -> Iterator[str]:
    """`get`: reads a path below /v1. `profile`: the filter of the chosen profiles."""
    for find in (_orders, _exported):
        try:
            yield from find(get, {"$filter": profile} if profile else {})
        except CrossdockError as error:
            yield f"Not found out: {error.message}"


def _orders(get: Get, chosen: dict[str, Any]) -> Iterator[str]:
    page = get("/Orders", {"$expand": "Items"} | chosen)
    orders = page.get("value") or []
    if not orders:
        yield "No order has come: the size of pages and of the lists within an order is not known yet."
        return
    more = CUT in page
    yield (
        f"A page of orders with their items has {len(orders)} rows."
        if more
        else f"The account has {len(orders)} orders, on one page."
    )
    truncated = [len(order.get("Items") or ()) for order in orders if f"Items{CUT}" in order]
    longest = max((len(order.get("Items") or ()) for order in orders), default=0)
    if truncated:
        most = max(truncated)
        yield f"Lists within an order are cut at {most} rows (documented: {NESTED}); such orders are read again."
    elif longest > NESTED:
        yield f"Lists within an order are not cut at {NESTED} rows: one of {longest} has come whole."
    undated = sum(order.get("UpdatedDateUtc") is None for order in orders)
    if undated:
        yield f"{undated} of {len(orders)} orders have no UpdatedDateUtc; they are found by their ImportDateUtc only."


def _exported(get: Get, chosen: dict[str, Any]) -> Iterator[str]:
    get("/Orders", {"exported": "false", "$top": 1, "$select": "ID"} | chosen)
    yield "Orders can be asked for by their exported mark."
