"""What the flows ask of Channel Advisor, whichever API an account has.

In: nothing. Out: the protocol that each dialect fulfils, and what its calls give back.
Never: a flow, a step or a rule that names a dialect: it asks `can`.

Every document that a client gives or takes is one of the contract (include/contracts/channel_advisor.yaml).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from crossdock.errors import CrossdockError
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.paging import Page, Single
from crossdock.systems.subscriptions import Subscription

Item = dict[str, Any] | msgspec.Raw  # one of a batch: a document, or its JSON


@dataclass(frozen=True, slots=True)
class Reported:
    """The outcome of one shipment: the shipment as stored, or the reason of its refusal."""

    status: int
    shipment: dict[str, Any] | None = None
    error: CrossdockError | None = None  # RecordRejected: refused; Transient: to be sent again as it is


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one item of a batch. `result`: the contract's ItemResult."""

    status: int
    result: dict[str, Any]
    error: CrossdockError | None = None  # RecordRejected: refused; Transient: to be sent again as it is


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an API can do. `missing`: ability -> the sentence that a person reads where it is switched off."""

    listings: bool = True  # listings of a product on each site
    promotions: bool = True  # promotional prices with a start and an end
    mark_refunded: bool = True  # an approved return waits until somebody marks it as refunded
    own_sites: bool = True  # its list of sites is the account's, and not of all that there are
    clock_is_date: bool = False  # the Date of its answers is the only clock that it shows
    undated: tuple[str, ...] = ()  # lists whose records change without a date: they take the filter `key`
    missing: tuple[tuple[str, str], ...] = ()

    def why_not(self, ability: str) -> str:
        """The sentence of an ability that is missing; "" of one that is there."""
        return dict(self.missing).get(ability, "")


class Jobs(Protocol):
    """Where a client keeps the jobs that the API works on, so that another process can go on waiting for them."""

    def find(self, name: str, within: timedelta) -> tuple[str, datetime] | None: ...

    def keep(self, name: str, token: str, began: datetime) -> None: ...

    def forget(self, name: str, token: str) -> None: ...


class ChannelAdvisor(Protocol):
    """One client; thread safe for as many threads as may call at once. Close it, or use it as a context manager."""

    connection: Connection
    limits: Limits
    api: str  # its name, as `api` in a connection's extra has it
    can: Abilities
    # Gives the ProductIDs of SKUs that are known already, for an API that knows products by number.
    product_ids: Callable[[Sequence[str]], Mapping[str, int]] | None
    jobs: Jobs | None  # keeps the jobs of an API that has some

    @property
    def other_profiles(self) -> tuple[int, ...]:
        """Profiles beside the first whose products are kept, too: a product there goes by the name `profile:SKU`."""
        ...

    def __enter__(self) -> ChannelAdvisor: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Closes the pooled connections."""

    def pages(
        self,
        resource: str,
        *,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> Iterator[Page]:
        """The contract's list `resource` changed in [since, before), page by page; of about `limit` rows, or of as many
        as are fast.

        A row that changes meanwhile may come twice: keep the larger UpdatedDate. BadResponse for a list without end,
        ConfigError for one that does not exist.
        """

    def record(self, resource: str, key: str) -> bytes:
        """The JSON of one record. RecordRejected(status=404) when there is none, RecordRejected where no document can
        be made of it."""

    def single(self, resource: str, key: str) -> Single:
        """The same, with what it was made of; of one of which no document can be made, why."""

    def of_skus(self, resource: str, skus: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of these SKUs in a list that takes the filter `sku`, decoded; rows may come twice."""

    def server_time(self, resource: str = "orders") -> datetime:
        """The system's own clock, by the cheapest call; tests address, login and rights on the way."""

    def mark_exported(self, order_id: str) -> None:
        """Sets the exported mark. Idempotent."""

    def received_as(self, resource: str) -> tuple[str, str] | None:
        """Contract and schema of what `Page.received` of a list holds; None where that is the document itself."""

    def facts(self) -> list[str]:
        """What is not certain of the API, as it is on this account: sentences for people."""

    def may_mark_exported(self) -> bool:
        """Whether the login has the right to set exported marks, found out without one: the mark of order 0 is asked
        for. Ids of orders begin at 1, so that nothing is marked: whoever has the right gets 404, whoever lacks it 401
        or 403."""

    def profiles_covered(self) -> dict[int, str]:
        """The profiles that the authorisation covers, with their names; none where the API has no list of them."""

    def newest_sites(self, most: int) -> dict[int, str]:
        """The sites of the newest orders, about `most` of them: number and name."""

    def update_order(self, order_id: str, changes: dict[str, Any]) -> bytes:
        """Sets the given fields of an order; gives the order as stored (nothing, where the answer has no body).
        Idempotent: the values are absolute."""

    def resolve_return(self, return_id: str, decision: str) -> bytes:
        """Decides a return; gives it as stored. The decision that brought its status is no-op."""

    def subscriptions(self) -> list[Subscription]:
        """The subscriptions to events that this application has."""

    def subscribe(self, url: str, types: Iterable[str], secret: str) -> Subscription:
        """Subscribes to events. RecordRejected(status=409) where the address has a subscription; a lost answer is
        OutcomeUnknown, and the list shows what became of it."""

    def unsubscribe(self, id: str) -> None:
        """Ends a subscription; what waits to be delivered is dropped. One that is gone already is ended."""

    def report_shipments(self, shipments: Sequence[Item]) -> list[Reported]:
        """Reports up to 100 shipments (ShipmentCreate); one result for each, in their order. Idempotent: a repeat is
        answered with the first shipment of its (ChannelAdvisorOrderID, SellerFulfillmentID)."""

    def write_quantities(self, updates: Sequence[Item]) -> list[Written]:
        """Writes up to 500 quantities (InventoryUpdate); one result for each, in their order. Idempotent for all but
        the update type Relative, which must not be sent here."""

    def write_prices(self, prices: Sequence[Item]) -> list[Written]:
        """Writes up to 500 prices (PriceUpdate); one result for each, in their order. Idempotent."""

    def create_products(self, products: Sequence[Item]) -> list[Written]:
        """Creates up to 100 products (ProductCreate); one result for each, in their order. Idempotent: a repeat is
        409 DuplicateSku."""

    def update_product(self, sku: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Sets the given fields of a product (ProductUpdate); gives it as stored. Idempotent."""

    def create_listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        """Makes a Draft (ListingCreate). A repeat is 409 DuplicateListing with the id of the one that is there."""

    def update_listing(self, listing_id: int, changes: dict[str, Any]) -> dict[str, Any]:
        """Sets the given fields of a listing (ListingUpdate); gives it as stored. Idempotent."""


class Sold(msgspec.Struct):
    """Where an order was sold."""

    SiteID: int | None = None
    SiteName: str | None = None


_sold = msgspec.json.Decoder(Sold)


def sites_of(orders: Iterable[msgspec.Raw | bytes]) -> dict[int, str]:
    """Number and name of the sites of orders, as far as they can be read."""
    found: dict[int, str] = {}
    for order in orders:
        try:
            one = _sold.decode(order)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if one.SiteID is not None:
            found[one.SiteID] = one.SiteName or ""
    return found
