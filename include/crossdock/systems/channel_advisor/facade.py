"""The facade: the API of include/contracts/channel_advisor.yaml itself.

In: a connection. Out: pages of raw records, single records, small writes.
Never: a computed nextLink or one to another origin; a refusal in the guise of a 200; a parsed page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.errors import BadResponse, ConfigError, Refusal
from crossdock.keys import segment
from crossdock.systems import failures, paging, scan, subscriptions, times
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor.protocol import Abilities, Item, Jobs, Reported, Written, sites_of
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Http, Refused, TokenRefused, ended, is_allowed, origin
from crossdock.systems.limits import Limits
from crossdock.systems.limits import of as limits_of
from crossdock.systems.paging import Page, Single, Split
from crossdock.systems.subscriptions import Subscription

LINES_IN_A_LIST = 20  # contract: lists truncate long orders
SKUS_A_REQUEST = 100  # contract: of the filter `sku`
ROWS = 100  # of a page
DEEPEST = 500  # the deepest nesting that a parser can follow
DENIED = b"Authorization has been denied"
NEWEST_DAYS = (1, 7, 30, 0)  # to go back for enough orders; 0: from the beginning


class Facade:
    """A client of `/v2`; what each call does is in `protocol.ChannelAdvisor`."""

    api = "v2"
    can = Abilities()
    product_ids: Callable[[Sequence[str]], Mapping[str, int]] | None = None  # it knows products by SKU
    jobs: Jobs | None = None  # it has none
    other_profiles: tuple[int, ...] = ()

    def __init__(
        self,
        connection: Connection,
        *,
        budget: Budget | None = None,
        breaker: Breaker | None = None,
        limits: Limits | None = None,
    ) -> None:
        refresh_token = str(connection.extra.get("refresh_token") or "")
        if not refresh_token:
            raise ConfigError(
                "The connection channel_advisor has no refresh_token in its extra.",
                do=f'Add "extra": {{"refresh_token": "..."}} to {connection.variable}.',
                system=connection.name,
            )
        self.connection = connection
        self.limits = limits or limits_of(connection)
        self._http = Http(
            connection,
            self.limits,
            token_form={"grant_type": "refresh_token", "refresh_token": refresh_token},
            read_refusal=_refused,
            budget=budget,
            breaker=breaker,
        )

    def __enter__(self) -> Facade:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the pooled connections."""
        self._http.close()

    def pages(
        self,
        resource: str,
        *,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> Iterator[Page]:
        """The list `/v2/<resource>` changed in [since, before), page by page; nextLink is followed as it is.

        A row that changes meanwhile may come twice: keep the larger UpdatedDate. BadResponse for a link that repeats or
        leaves the connection's origin, ConfigError for a list or filter that does not exist.
        """
        path = f"/v2/{resource}"
        query = {
            "updatedSince": since and times.write(since),
            "updatedBefore": before and times.write(before),
            "limit": limit or ROWS,
        }

        def fetch(link: str | None) -> Split:
            read = paging.patient(_page, self.limits.tries)
            if link is None:
                return self._http.request("GET", path, read, query=query | filters)
            if origin(link) != origin(self.connection.base_url):
                raise paging.endless_list(self.connection, path, "nextLink leads to another server")
            return self._http.request("GET", link, read)

        return paging.follow(fetch, self.connection, path, self.limits)

    def record(self, resource: str, key: str) -> bytes:
        """The JSON of one record as received. RecordRejected(status=404) when there is none."""
        return self._http.request("GET", f"/v2/{resource}/{segment(key)}", _whole_record)

    def single(self, resource: str, key: str) -> Single:
        """The same; what is received is the document."""
        return Single(msgspec.Raw(self.record(resource, key)))

    def of_skus(self, resource: str, skus: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of these SKUs in a list that takes the filter `sku`, decoded; rows may come twice."""
        return [
            _any.decode(raw)
            for start in range(0, len(skus), SKUS_A_REQUEST)
            for page in self.pages(resource, sku=list(skus[start : start + SKUS_A_REQUEST]), **self._profile)
            for raw in page.records
        ]

    def server_time(self, resource: str = "orders") -> datetime:
        """The system's own clock, by the cheapest list call; tests address, login and rights on the way."""
        return next(self.pages(resource, limit=1)).server_time

    def mark_exported(self, order_id: str) -> None:
        """Sets the exported mark. Idempotent."""
        self.call("POST", f"/v2/orders/{segment(order_id)}/exported", repeatable=True)

    def received_as(self, resource: str) -> tuple[str, str] | None:
        """None: what is received is the document."""
        return None

    def facts(self) -> list[str]:
        """Nothing: its contract says all."""
        return []

    def may_mark_exported(self) -> bool:
        """Whether the login has the right to set exported marks; nothing is marked, for no order has the number 0."""
        return is_allowed(
            lambda: self._http.request("POST", "/v2/orders/0/exported", _document, repeatable=True, changes=False)
        )

    def profiles_covered(self) -> dict[int, str]:
        """None: its contract has no list of them."""
        return {}

    def newest_sites(self, most: int) -> dict[int, str]:
        """See `protocol.ChannelAdvisor`."""
        now, found = self.server_time(), dict[int, str]()
        for days in NEWEST_DAYS:
            count, found = 0, {}
            for page in self.pages("orders", since=now - timedelta(days=days) if days else None):
                found |= sites_of(page.records)
                count += len(page.records)
                if count >= most:
                    return found
        return found

    def update_order(self, order_id: str, changes: dict[str, Any]) -> bytes:
        """Sets the given fields of an order; gives the order as stored, as received (nothing, where the answer has no
        body). Idempotent: the values are absolute."""
        path = f"/v2/orders/{segment(order_id)}"
        return self._http.request("PUT", path, _stored, body=_encode(changes), repeatable=True)

    def resolve_return(self, return_id: str, decision: str) -> bytes:
        """Decides a return; gives it as stored, as received. The decision that brought its status is no-op."""
        path = f"/v2/returns/{segment(return_id)}/resolve"
        return self._http.request("POST", path, _stored, body=_encode({"Decision": decision}), repeatable=True)

    def subscriptions(self) -> list[Subscription]:
        """The subscriptions to events that this application has."""
        rows = [_any.decode(raw) for page in self.pages("webhooks") for raw in page.records]
        return [self._subscription(row, "GET /v2/webhooks") for row in rows]

    def subscribe(self, url: str, types: Iterable[str], secret: str) -> Subscription:
        """Subscribes to events. RecordRejected(status=409) where the address has a subscription; a lost answer is
        OutcomeUnknown, and the list shows what became of it."""
        sent = {"Url": url, "Events": sorted(types), "SigningSecret": secret}
        return self._subscription(self.call("POST", "/v2/webhooks", sent), "POST /v2/webhooks")

    def unsubscribe(self, id: str) -> None:
        """Ends a subscription; what waits to be delivered is dropped. One that is gone already is ended."""
        ended(lambda: self.call("DELETE", f"/v2/webhooks/{segment(id)}"))

    def _subscription(self, row: Any, what: str) -> Subscription:
        try:
            return subscriptions.read(
                row, id="WebhookID", url="Url", types="Events", made_at="CreatedDate", on="Enabled"
            )
        except (LookupError, TypeError, ValueError):
            raise failures.make("not_contract", self.connection, what, detail="no subscription") from None

    def report_shipments(self, shipments: Sequence[Item]) -> list[Reported]:
        """Reports up to 100 shipments (ShipmentCreate); one result for each, in their order. Idempotent: a repeat is
        answered with the first shipment of its (ChannelAdvisorOrderID, SellerFulfillmentID)."""
        done = self._batch("POST", "/v2/shipping", "Shipments", shipments)
        return [Reported(one.status, one.result.get("Shipment"), one.error) for one in done]

    def write_quantities(self, updates: Sequence[Item]) -> list[Written]:
        """Writes up to 500 quantities (InventoryUpdate); one result for each, in their order. Idempotent for all but
        the update type Relative, which must not be sent here."""
        return self._batch("PUT", "/v2/inventory", "Updates", updates)

    def write_prices(self, prices: Sequence[Item]) -> list[Written]:
        """Writes up to 500 prices (PriceUpdate); one result for each, in their order. Idempotent."""
        return self._batch("PUT", "/v2/prices", "Prices", prices)

    def create_products(self, products: Sequence[Item]) -> list[Written]:
        """Creates up to 100 products (ProductCreate); one result for each, in their order. Idempotent: a repeat is
        409 DuplicateSku."""
        return self._batch("POST", "/v2/products", "Products", products)

    def _batch(self, method: str, path: str, name: str, items: Sequence[Item]) -> list[Written]:
        """A batch in which every item has its own outcome."""
        answer = self.call(method, path, {name: list(items)}, self._profile, repeatable=True)
        results = answer.get("Results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or [one.get("Index") for one in results] != list(range(len(items))):
            raise failures.make(
                "not_contract", self.connection, f"{method} {path}", detail="its results are not those of the items"
            )
        return [self._written(one, f"{method} {path}") for one in results]

    def _written(self, result: dict[str, Any], what: str) -> Written:
        """One result of a batch, with the error that a single call would have had."""
        status = int(result["Status"])
        if status < 400:
            return Written(status, result)
        refusals = _refusals(result.get("Errors"))
        refused = Refused(refusals[0].code if refusals else "", refusals)
        return Written(status, result, self._http.refusal(status, {}, refused, what).error)

    def update_product(self, sku: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Sets the given fields of a product (ProductUpdate); gives it as stored. Idempotent."""
        return self.call("PUT", f"/v2/products/{segment(sku)}", changes, self._profile)

    def create_listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        """Makes a Draft (ListingCreate). A repeat is 409 DuplicateListing with the id of the one that is there."""
        return self.call("POST", "/v2/listings", listing, self._profile, repeatable=True)

    def update_listing(self, listing_id: int, changes: dict[str, Any]) -> dict[str, Any]:
        """Sets the given fields of a listing (ListingUpdate); gives it as stored. Idempotent."""
        return self.call("PUT", f"/v2/listings/{segment(listing_id)}", changes)

    @property
    def _profile(self) -> dict[str, Any]:
        """The query of calls that are keyed by SKU: a token of several profiles needs to say which."""
        profile = self.connection.extra.get("profile_id")
        return {"profileId": profile} if profile else {}

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, Any] | None = None,
        *,
        repeatable: bool | None = None,
    ) -> Any:
        """Any other operation: `path` as in the contract ("/v2/..."). Gives the decoded answer with exact decimals.

        `repeatable`: sending it twice does no more than once; by default true for all but POST. Pass False for relative
        stock changes. A write that is not repeatable and loses its answer raises OutcomeUnknown at once.
        """
        payload = None if body is None else body if isinstance(body, bytes) else _encode(body)
        again = method != "POST" if repeatable is None else repeatable
        return self._http.request(method, path, _document, query=query, body=payload, repeatable=again)


class Envelope(msgspec.Struct):
    """A page, or a refusal in its place."""

    value: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    nextLink: str | None = None
    serverTime: str = ""
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    Message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Disguise(msgspec.Struct):
    """The fields by which a 200 is known as a refusal."""

    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    Message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class LineCounts(msgspec.Struct):
    """The fields by which an order is known as truncated."""

    ChannelAdvisorOrderID: int | str
    UpdatedDate: str | None = None
    OrderItemCount: int | None = None
    OrderItems: list[msgspec.Raw] | None = None


_envelope = msgspec.json.Decoder(Envelope)
_disguise = msgspec.json.Decoder(Disguise)
_line_counts = msgspec.json.Decoder(LineCounts)
_any = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_encode = _encoder.encode


def is_truncated(raw: msgspec.Raw | bytes) -> tuple[str, bool]:
    """(ChannelAdvisorOrderID, whether the list left lines out) of one listed order. BadResponse when it has no id."""
    try:
        order = _line_counts.decode(raw)
    except msgspec.MsgspecError as wrong:
        raise BadResponse(
            f"Channel Advisor listed an order that cannot be told from others: {wrong}.",
            do="Tell the operator of Channel Advisor.",
            system="channel_advisor",
        ) from None
    given = len(order.OrderItems or ())
    truncated = given >= LINES_IN_A_LIST if order.OrderItemCount is None else order.OrderItemCount > given
    return str(order.ChannelAdvisorOrderID), truncated


def _page(answer: Answer, *, lenient: bool) -> Split:
    _not_denied(answer)
    page = paging.decode_page(answer, _envelope, "value", lenient=lenient)
    if page.error is not msgspec.UNSET or page.Message is not msgspec.UNSET:
        raise TokenRefused
    if page.value is msgspec.UNSET:
        raise paging.Malformed("the list has no value")
    return Split(page.value, paging.server_time(page.serverTime), page.nextLink or None)


def _whole_record(answer: Answer) -> bytes:
    _not_denied(answer)
    if answer.is_json and scan.deeper_than(answer.content, DEEPEST):
        return answer.content  # not a refusal; the caller reports what is wrong with it
    marks = paging.decode(answer, _disguise)
    if marks.error is not msgspec.UNSET or marks.Message is not msgspec.UNSET:
        raise TokenRefused
    return answer.content


def _stored(answer: Answer) -> bytes:
    return b"" if answer.status == 204 or not answer.content else _whole_record(answer)


def _document(answer: Answer) -> Any:
    if answer.status == 204 or not answer.content:
        return None
    _not_denied(answer)
    document = paging.decode(answer, _any)
    if isinstance(document, dict) and ("error" in document or "Message" in document):
        raise TokenRefused
    return document


def _not_denied(answer: Answer) -> None:
    """A refusal with 200 may be plain text, whatever it declares."""
    if not answer.is_json and DENIED in answer.content[:500]:
        raise TokenRefused


def _refused(answer: Answer) -> Refused:
    """The three shapes of an error body: {error: {code, message, details}}, {Message}, or nothing that can be read."""
    try:
        body = _any.decode(answer.content)
    except msgspec.DecodeError:
        body = {}
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    if not isinstance(error, dict):
        return Refused(code=error if isinstance(error, str) else "", body=body)
    details = error.get("details")
    details = details if isinstance(details, dict) else {}
    refusals = _refusals(details.get("Errors"))
    code, message = str(error.get("code") or ""), str(error.get("message") or "")
    existing = details.get("ExistingID")
    return Refused(code, refusals or [Refusal("", code, message)], None if existing is None else str(existing), body)


def _refusals(errors: Any) -> list[Refusal]:
    """The contract's FieldErrors."""
    return [
        Refusal(str(one.get("Field", "")), str(one.get("Code", "")), str(one.get("Message", "")))
        for one in (errors if isinstance(errors, list) else ())
        if isinstance(one, dict)
    ]
