"""Webhooks: the subscriptions of a client, and which change raises which event.

In: calls on /webhooks/subscriptions, changes of documents. Out: subscriptions, events. Never: a secret in an answer.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote, urlsplit

from sandbox.kernel import webhooks as kernel
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Change, Row
from sandbox.kernel.webhooks import Event, Subscriber
from sandbox.tims.call import Call, location, save, shown
from sandbox.tims.problems import not_found

KIND = "subscription"
# Kind of a document -> its event, and where it is read.
EVENTS = {
    "quantity": ("inventory.changed", "/api/v1/inventory/items/{}/quantity"),
    "shipment": ("shipment.created", "/api/v1/shipments/{}"),
    "order": ("salesorder.updated", "/api/v1/sales-orders/{}"),
    "item": ("item.updated", "/api/v1/inventory/items/{}"),
    "invoice": ("invoice.posted", "/api/v1/ar/invoices/{}"),
    "payment": ("payment.posted", "/api/v1/ar/payments/{}"),
}
STAMPS = ("RowVersion", "ModifiedAt")


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("Client", doc["Client"])]


# ---- subscriptions ----
def list_subscriptions(call: Call) -> Answer:
    page = call.system.page(call.request, call.tx, KIND, {"Client": [call.request.access.client]})
    return call.listed([_visible(row.doc) for row in page.rows], page.next, page.listed)


def get_subscription(call: Call) -> Answer:
    return shown(_visible(_own(call).doc))


def create_subscription(call: Call) -> Answer:
    body = call.body
    errors = call.errors("Subscription")
    if isinstance(body, dict) and isinstance(body.get("TargetURL"), str) and not _is_address(body["TargetURL"]):
        errors.add("/TargetURL", "INVALID_VALUE", "It is not an address that begins with https:// or http://.")
    errors.refuse()
    id = f"WH-{call.tx.next_number(KIND)}"
    doc = {"SubscriptionID": id, "TargetURL": body["TargetURL"], "EventTypes": body["EventTypes"]}
    kept = kernel.kept(body["Secret"], call.request.base_url)
    doc["Client"] = call.request.access.client
    save(call.tx, KIND, id, doc, call.now, kept)
    return shown(_visible(doc), 201, location("webhooks/subscriptions", id))


def delete_subscription(call: Call) -> Answer:
    row = _own(call)
    call.tx.delete(KIND, row.id)
    call.tx.remove_notices_of(row.id)
    return Answer(204)


def _own(call: Call) -> Row:
    """The subscription that the path names, of the client that asks; 404."""
    id = call.request.path["id"]
    row = call.row(KIND, "subscription", id)
    if row.doc["Client"] != call.request.access.client:
        raise not_found("subscription", id)
    return row


def _visible(doc: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in doc.items() if name != "Client"}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# ---- events ----
class Documents:
    """Which change raises which event."""

    subscription = KIND
    kinds = frozenset(EVENTS)

    def event(self, change: Change) -> Event | None:
        if change.before is not None and _facts(change.before) == _facts(change.after):
            return None
        kind, path = EVENTS[change.kind]
        resource = str(change.id)
        return Event(kind, resource, path.format(quote(resource, safe="")), change.after["ModifiedAt"])

    def subscriber(self, row: Row) -> Subscriber:
        return kernel.subscriber(row, row.doc["TargetURL"], row.doc["EventTypes"])

    def new_id(self) -> str:
        return f"EV-{secrets.token_hex(10).upper()}"

    def body(self, id: str, event: Event, base: str) -> dict[str, Any]:
        return {
            "EventID": id,
            "EventType": event.type,
            "ResourceURL": base + event.path,
            "ResourceID": event.resource,
            "ModifiedAt": event.at,
        }

    def headers(self, id: str, event: Event, timestamp: str, signature: str) -> dict[str, str]:
        return {"X-TIMS-Timestamp": timestamp, "X-TIMS-Signature": signature}

    def suspended(self, subscription: dict[str, Any], at: int) -> dict[str, Any] | None:
        return None


def _facts(doc: dict[str, Any]) -> dict[str, Any]:
    """A document without its stamps: what is written again unchanged raises nothing."""
    return {name: value for name, value in doc.items() if name not in STAMPS}
