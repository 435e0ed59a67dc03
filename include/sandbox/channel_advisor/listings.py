"""Listings: what the seller offers on a site, and what the marketplace answers.

In: requests that match the contract. Out: listings as the contract has them. Never: two listings of a SKU on a site
that are not Ended; a state that the status rules do not let a client set.

The marketplace looks at a listing `ANSWERS_AFTER` it was made Active, or changed while Active, by the sandbox clock: it
takes it and gives it its own id, or turns it to Error and says why. Its answers are taken in, with their own moment as
UpdatedDate, before listings are read or written, so no reader's watermark is ever ahead of one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.channel_advisor import account, lists, named, repository
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import MOST_UNITS, Refused, amounts, field_error
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

FIRST_LISTING = 900_000_001
ANSWERS_AFTER = 30 * clock.SECOND
LONGEST_TITLE = 200  # that a site takes
FIELDS = ("Price", "Quantity", "Title", "Category")
ALLOWED = {  # What a PUT may set ("Status rules" of the contract)
    "Draft": ("Active", "Ended"),
    "Paused": ("Active", "Ended"),
    "Error": ("Active", "Ended"),
    "Active": ("Paused", "Ended"),
}
ON_SALE = ("Active", "Paused")


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listListings": partial(list_listings, system),
        "createListing": partial(create_listing, system),
        "getListing": partial(get_listing, system),
        "updateListing": partial(update_listing, system),
    }


# ---- reading ----
def list_listings(system: System, request: Request) -> Answer:
    _hear(system, request.now)
    where = lists.by_sku(request)
    if "siteId" in request.query:
        where["site"] = [request.query["siteId"]]
    if "status" in request.query:
        where["status"] = request.query["status"]
    return lists.page(system, request, "listing", where)


def get_listing(system: System, request: Request) -> Answer:
    _hear(system, request.now)
    with system.store.read() as tx:
        return Answer(200, find(tx, request).doc)


def find(tx: Transaction, request: Request) -> Row:
    """The listing that the path names, in the profiles of the token. Refusal UnknownListing."""
    key = request.path["ListingID"]
    row = tx.get("listing", key)
    if row is None or row.doc["ProfileID"] not in request.access.profiles:
        raise Refusal(404, "UnknownListing", f"There is no listing {key}.")
    return row


# ---- writing ----
def create_listing(system: System, request: Request) -> Answer:
    owner, sent = named.profile(request), request.body
    with system.store.write() as tx:
        product, site = repository.product(tx, owner, sent["SKU"]), sent["SiteID"]
        fields, errors = validated(sent)
        if product is None:
            errors.append(field_error("SKU", "UnknownSku", f"There is no product {sent['SKU']}."))
        if tx.get("site", site) is None:
            errors.append(field_error("SiteID", "UnknownSite", f"There is no site {site}."))
        if errors or product is None:
            raise Refused(errors)
        sku = product.doc["SKU"]
        for other in of_product(tx, owner, sku):
            if other["SiteID"] == site and other["Status"] != "Ended":
                message = f"{sku} has the listing {other['ListingID']} on site {site}."
                raise Conflict("DuplicateListing", message, ExistingID=other["ListingID"])
        listing = whole(tx, {"ProfileID": owner, "SKU": sku, "SiteID": site} | fields)
        return Answer(201, repository.put_listing(tx, listing, system.clock.now()))


def whole(tx: Transaction, sent: Document) -> Document:
    """A listing as it is stored, without its times; a Draft unless a status is given."""
    number = sent.get("ListingID")
    neutral = dict.fromkeys(("SiteListingID", *FIELDS, "Errors")) | {
        "ListingID": tx.next_number("ListingID", FIRST_LISTING) if number is None else number,
        "Status": "Draft",
        "Currency": account.SITE_CURRENCIES.get(sent["SiteID"], account.CURRENCIES[sent["ProfileID"]]),
    }
    return neutral | sent


def update_listing(system: System, request: Request) -> Answer:
    now = system.clock.now()
    with system.store.write() as tx:
        take_answers(tx, now)
        row = find(tx, request)
        before = row.doc
        fields, errors = validated(request.body)
        status = request.body.get("Status", before["Status"])
        allowed = list(ALLOWED.get(before["Status"], ()))
        if status not in (before["Status"], *allowed):
            article = "A" if before["Status"] in ("Draft", "Paused") else "An"
            message = f"{article} {before['Status']} listing cannot become {status}."
            raise Conflict("IllegalStatusTransition", message, From=before["Status"], AllowedStatuses=allowed)
        if (
            status == "Active" != before["Status"]
            and repository.product(tx, before["ProfileID"], before["SKU"]) is None
        ):
            errors.append(field_error("SKU", "UnknownSku", f"There is no product {before['SKU']} any more."))
        if errors:
            raise Refused(errors)
        after = before | fields | {"Status": status, "Errors": before["Errors"] if status == "Error" else None}
        if after == before:
            return Answer(200, before)
        at = max(now, row.modified + 1)
        after = repository.put_listing(tx, after, at)
        ask(tx, after, at)
    return Answer(200, after)


def validated(sent: Document) -> tuple[Document, list[dict[str, str]]]:
    """The fields of a listing that were given, and what breaks a rule of the contract."""
    money, errors = amounts(sent, ("Price",))
    if (sent.get("Quantity") or 0) > MOST_UNITS:
        errors.append(field_error("Quantity", "OutOfRange", f"At most {MOST_UNITS} units."))
    return {name: sent[name] for name in FIELDS if name in sent} | money, errors


def of_product(tx: Transaction, owner: int, sku: str) -> list[Document]:
    return [row.doc for row in tx.found("listing", "sku", sku.casefold()) if row.doc["ProfileID"] == owner]


# ---- the marketplace ----
def ask(tx: Transaction, listing: Document, at: int) -> None:
    """Queues an Active listing for the marketplace's answer; takes any other listing off the queue."""
    if listing["Status"] == "Active":
        tx.put("_answer", listing["ListingID"], {}, modified=at + ANSWERS_AFTER)
    else:
        tx.delete("_answer", listing["ListingID"])


def _hear(system: System, now: int) -> None:
    with system.store.read() as tx:
        waiting = bool(tx.page("_answer", limit=1, before=now + 1))
    if waiting:
        with system.store.write() as tx:
            take_answers(tx, now)


def take_answers(tx: Transaction, now: int) -> None:
    """Takes in the answers that marketplaces have given by now."""
    for answer in tx.page("_answer", limit=-1, before=now + 1):
        tx.delete("_answer", answer.id)
        row = tx.get("listing", answer.id)
        if row is None or row.doc["Status"] != "Active":
            continue
        errors = complaints(tx, row.doc)
        if errors:
            after = row.doc | {"Status": "Error", "Errors": errors}
        else:
            site_id = row.doc["SiteListingID"] or f"{row.doc['SiteID']}-{row.id}"
            after = row.doc | {"SiteListingID": site_id}
        if after != row.doc:
            repository.put_listing(tx, after, max(answer.modified, row.modified + 1))


def complaints(tx: Transaction, listing: Document) -> list[Any]:
    """The marketplace's reasons against a listing; empty when it takes it."""
    product = repository.product(tx, listing["ProfileID"], listing["SKU"])
    if product is None:
        return [field_error("SKU", "UnknownSku", "The product is gone.")]
    errors = []
    if product.doc.get("IsBlocked"):
        errors.append(field_error("SKU", "Blocked", "The product is kept off every channel."))
    if len(listing["Title"] or product.doc["Title"] or "") > LONGEST_TITLE:
        errors.append(field_error("Title", "TooLong", f"The site takes {LONGEST_TITLE} characters."))
    if listing["Price"] is None and repository.price(tx, listing["ProfileID"], product.doc["SKU"]) is None:
        errors.append(field_error("Price", "Missing", "The site takes no listing without a price."))
    return errors
