"""Finds what a call names: its profile, its products.

In: requests, items of batches. Out: a profile of the token, a stored product. Never: a row of another profile.
"""

from __future__ import annotations

from sandbox.channel_advisor import repository
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import Refused, field_error
from sandbox.kernel.http import Refusal, Request
from sandbox.kernel.store import Row, Transaction


def profile(request: Request) -> int:
    """The one profile that a call is about. Refusal ProfileRequired when the token covers several and none is named."""
    wanted = request.query.get("profileId")
    covered = request.access.profiles
    if wanted is None and len(covered) > 1:
        raise Refusal(400, "ProfileRequired", f"The token covers {len(covered)} profiles: say profileId.")
    if wanted is not None and wanted not in covered:
        raise Refusal(400, "UnknownProfile", f"The token does not cover profile {wanted}.")
    return covered[0] if wanted is None else wanted


def product(tx: Transaction, owner: int, sku: str) -> Row:
    """The product that an item of a batch names. Refused 404 UnknownSku."""
    row = repository.product(tx, owner, sku)
    if row is None:
        raise Refused([field_error("SKU", "UnknownSku", f"There is no product {sku}.")], status=404)
    return row


def sku(sent: Document) -> Document:
    """The SKU of an item as it was sent, if an answer can hold it."""
    return {"SKU": sent.get("SKU") if isinstance(sent.get("SKU"), str) else None}
