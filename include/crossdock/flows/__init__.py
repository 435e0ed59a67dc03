"""One file per flow: its source, mapping, checks, target, and the one rule that makes it special.

A flow is a value: the five steps in `crossdock.steps` walk it. Adding a flow is a file here and a line below.
"""

from __future__ import annotations

import difflib

from crossdock.errors import ConfigError
from crossdock.flow import Flow


def all_flows() -> dict[str, Flow]:
    """Every flow by name, in the order in which data travels: the money first, then what goes to the channel."""
    from crossdock.flows import ledger
    from crossdock.flows.catalog import CATALOG
    from crossdock.flows.inventory import INVENTORY
    from crossdock.flows.invoices import INVOICES
    from crossdock.flows.orders import ORDERS
    from crossdock.flows.payments import PAYMENTS
    from crossdock.flows.payouts import PAYOUTS
    from crossdock.flows.prices import PRICES
    from crossdock.flows.returns import RETURNS
    from crossdock.flows.shipments import SHIPMENTS
    from crossdock.flows.stock_adjustments import STOCK_ADJUSTMENTS

    money = (ORDERS, SHIPMENTS, INVOICES, RETURNS, STOCK_ADJUSTMENTS, PAYOUTS, PAYMENTS, *ledger.FLOWS.values())
    offers = (CATALOG, PRICES, INVENTORY)
    return {flow.name: flow for flow in (*money, *offers)}


# What the channel offers, and at which price: no document that the close or a control looks at comes of these.
OFFERS = ("catalog", "prices", "inventory")


def order_to_cash() -> dict[str, Flow]:
    """The flows of orders, documents and money: the nightly close runs them all."""
    return {name: flow for name, flow in all_flows().items() if name not in OFFERS}


def get(name: str) -> Flow:
    """The flow of that name. Raises ConfigError naming the nearest one."""
    flows = all_flows()
    if name not in flows:
        near = difflib.get_close_matches(name, flows, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"There is no flow {name!r}.{hint}", do=f"The flows are: {', '.join(flows)}.")
    return flows[name]
