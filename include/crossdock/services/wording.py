"""Names of the program in words for people: flows, DAGs, documents, entities, states, causes, alerts, moments.

In: a name as the program writes it. Out: words. Never: a value of a record; a sentence that is changed: only what is a
name as a whole is put in words.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from crossdock import flows
from crossdock.systems.failures import NAMES

WORDS = {
    **NAMES,
    # entities and states
    "channel_shipment": "report of a shipment", "channel_product": "product", "channel_price": "price",
    "channel_quantity": "quantity", "channel_listing": "listing", "posting": "journal entry",
    "gl_entry": "journal entry", "sales_order_line": "line of a sales order", "settlement_ledger": "settlement ledger",
    "inbox": "inbox",
    # DAGs that are no single flow
    "ledger": "Ledger", "orders_sweep": "Orders, the last days once more", "nightly_close": "Close of the month",
    "price_approvals": "Prices to be approved", "catalog_compare": "Comparison of the catalogue",
    "inventory_compare": "Comparison of quantities", "prices_compare": "Comparison of prices",
    "events": "Events", "subscriptions": "Subscriptions to events", "shadow_report": "Report of shadow mode",
    "reconcile": "Reconciliation", "watch": "Watch over all flows", "reference": "Reference data",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")


def in_words(name: str) -> str:
    """A name in words: missing_field, missing field; orders_sweep, what that DAG does; channel_advisor Return, Channel
    Advisor return. A text that is no name stays as it is."""
    if (flow := flows.all_flows().get(name)) is not None:
        return flow.title
    if name in WORDS:
        return WORDS[name]
    system, _, rest = name.partition(" ")
    if rest and system in NAMES and _NAME.fullmatch(rest):
        return f"{NAMES[system]} {document(rest)}"
    return name.replace("_", " ") if _NAME.fullmatch(name) else name


def document(name: str) -> str:
    """A document of a contract in words: SalesOrder, sales order."""
    return _CAMEL.sub(" ", name).lower() if name.isascii() else name


def moment(text: str) -> str:
    """A moment in words where a text is one; any other text stays."""
    if not _MOMENT.fullmatch(text):
        return text
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC):%d %b %Y %H:%M} UTC"
