"""Subscriptions to events of the API v1: its entity set Webhooks.

In: addresses, types of events, secrets. Out: subscriptions. Never: a SigningSecret read back.

Its fields are those of the metadata. That it takes POST and DELETE as other entity sets do is not confirmed by any
public page; where an account refuses them, a person makes the subscription in the developer console.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crossdock.keys import segment
from crossdock.systems import failures, subscriptions
from crossdock.systems.channel_advisor.v1.client import Client
from crossdock.systems.http import ended
from crossdock.systems.subscriptions import Subscription

FIELDS = "ID,Name,Status,WebhookUri,EventTypes"  # all but SigningSecret
NAME = "Crossdock"


class Webhooks(Client):
    """Subscriptions; what each call does is in `protocol.ChannelAdvisor`."""

    def subscriptions(self) -> list[Subscription]:
        """The subscriptions of this application that are not deleted."""
        found = [_read(self, row, "GET /v1/Webhooks") for row in self.rows("/Webhooks", {"$select": FIELDS})]
        return [each for each in found if each.status != "Deleted"]

    def subscribe(self, url: str, types: Iterable[str], secret: str) -> Subscription:
        """Subscribes to events. A lost answer is OutcomeUnknown, and the list shows what became of it."""
        sent = {
            "Name": NAME, "Status": "Enabled", "WebhookUri": url, "SigningSecret": secret, "EventTypes": sorted(types)
        }  # fmt: skip
        return _read(self, self.post("/Webhooks", sent), "POST /v1/Webhooks")

    def unsubscribe(self, id: str) -> None:
        """Ends a subscription. One that is gone already is ended."""
        ended(lambda: self.call("DELETE", f"/Webhooks({segment(id)})"))


def _read(client: Client, row: Any, what: str) -> Subscription:
    try:
        return subscriptions.read(row, id="ID", url="WebhookUri", types="EventTypes", made_at="", on="Enabled")
    except (LookupError, TypeError, ValueError):
        raise failures.make("not_contract", client.connection, what, detail="no subscription") from None
