"""Webhooks: the subscriptions of an application, and which change raises which event.

In: requests that match the contract, changes of orders and returns. Out: subscriptions, events. Never: a secret in an
answer; an event for an exported mark.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sandbox.channel_advisor import lists
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import Refused, field_error
from sandbox.kernel import clock
from sandbox.kernel import webhooks as kernel
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Change, Row, Transaction
from sandbox.kernel.system import Handler
from sandbox.kernel.webhooks import Event, Subscriber

if TYPE_CHECKING:
    from sandbox.kernel.system import System

KIND = "webhook"
ENABLED, SUSPENDED = "Enabled", "Suspended"
PAID = ("Cleared", "Deposited")


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listWebhooks": partial(list_webhooks, system),
        "createWebhook": partial(create_webhook, system),
        "getWebhook": partial(get_webhook, system),
        "deleteWebhook": partial(delete_webhook, system),
    }


# ---- subscriptions ----
def list_webhooks(system: System, request: Request) -> Answer:
    return lists.page(system, request, KIND, {"application": [request.access.client]}, shown)


def get_webhook(system: System, request: Request) -> Answer:
    with system.store.read() as tx:
        return Answer(200, shown(find(tx, request)))


def create_webhook(system: System, request: Request) -> Answer:
    sent, access = request.body, request.access
    if problem := _unreachable(sent["Url"]):
        raise Refused([field_error("Url", "InvalidUrl", problem)])
    at = system.clock.now()
    with system.store.write() as tx:
        taken = next(iter(tx.rows(KIND, application=access.client, url=sent["Url"])), None)
        if taken is not None:
            raise Conflict("DuplicateWebhook", f"Webhook {taken.id} has this Url.", ExistingID=taken.id)
        number = tx.next_number("WebhookID")
        stamp = clock.text(at)
        made = {
            "WebhookID": number,
            "Url": sent["Url"],
            "Events": sent["Events"],
            "Status": ENABLED,
            "CreatedDate": stamp,
            "UpdatedDate": stamp,
        }
        extra = kernel.kept(sent["SigningSecret"], request.base_url, access.profiles)
        tx.put(KIND, number, made | {"Application": access.client}, modified=at, extra=extra)
    return Answer(201, made)


def delete_webhook(system: System, request: Request) -> Answer:
    with system.store.write() as tx:
        row = find(tx, request)
        tx.delete(KIND, row.id)
        tx.remove_notices_of(row.id)
    return Answer(204)


def find(tx: Transaction, request: Request) -> Row:
    """The subscription that the path names, of the application that asks. Refusal UnknownWebhook."""
    key = request.path["WebhookID"]
    row = tx.get(KIND, key)
    if row is None or row.doc["Application"] != request.access.client:
        raise Refusal(404, "UnknownWebhook", f"There is no webhook {key}.")
    return row


def shown(row: Row) -> Document:
    return {name: value for name, value in row.doc.items() if name != "Application"}


def _unreachable(url: str) -> str:
    """Why nothing can be delivered to a Url; "" where it can."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "It is not an address."
    if not host or parts.scheme not in ("http", "https"):
        return "It is not an address of a receiver."
    if parts.scheme == "http" and not kernel.is_this_machine(url):
        return "Only a receiver on this machine may be spoken to by http."
    return ""


# ---- events ----
class OrdersAndReturns:
    """Which change raises which event; the most specific one."""

    subscription = KIND
    kinds = frozenset(("order", "return"))

    def event(self, change: Change) -> Event | None:
        before, after = change.before, change.after
        if before is not None and before["UpdatedDate"] == after["UpdatedDate"]:
            return None  # an exported mark
        if change.kind == "return":
            kind, path = ("ReturnUpdated" if before else "ReturnCreated"), "returns"
        else:
            kind, path = _of_order(before, after), "orders"
        return Event(kind, str(change.id), f"/v2/{path}/{change.id}", after["UpdatedDate"], after["ProfileID"])

    def subscriber(self, row: Row) -> Subscriber:
        doc = row.doc
        return kernel.subscriber(row, doc["Url"], doc["Events"], is_enabled=doc["Status"] == ENABLED)

    def new_id(self) -> str:
        return f"evt_{secrets.token_hex(10).upper()}"

    def body(self, id: str, event: Event, base: str) -> dict[str, Any]:
        return {
            "EventID": id,
            "EventType": event.type,
            "ProfileID": event.profile,
            "ResourceID": event.resource,
            "ResourceURL": base + event.path,
            "OccurredAt": event.at,
        }

    def headers(self, id: str, event: Event, timestamp: str, signature: str) -> dict[str, str]:
        return {
            "X-CA-Event-ID": id,
            "X-CA-Event-Type": event.type,
            "X-CA-Timestamp": timestamp,
            "X-CA-Signature": signature,
        }

    def suspended(self, subscription: dict[str, Any], at: int) -> dict[str, Any] | None:
        return subscription | {"Status": SUSPENDED, "UpdatedDate": clock.text(at)}


def _of_order(before: Document | None, after: Document) -> str:
    if before is None:
        return "OrderCreated"
    if after["OrderStatus"] == "Cancelled" != before["OrderStatus"]:
        return "OrderCancelled"
    if after["PaymentStatus"] in PAID and before["PaymentStatus"] not in PAID:
        return "OrderPaymentCleared"
    return "OrderUpdated"
