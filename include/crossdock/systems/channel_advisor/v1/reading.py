"""The reading half of the v1 client: the contract's lists, made of v1's.

In: a resource of the contract. Out: pages of contract documents with the bytes as received.
Never: a row lost because others changed meanwhile; an order with a part of its lists; a row of v1 behind this room.

A window is read in slices of time, the oldest first, so that a read that breaks off can go on at its last slice; within
a slice in the order of IDs. After the orders of a slice come those whose adjustments changed in it, for these do not
always move UpdatedDateUtc, and at last those with adjustments that are still open, for their state has no date at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import quote_plus

import msgspec

from crossdock.config import did_you_mean
from crossdock.errors import ConfigError, RecordRejected
from crossdock.keys import segment
from crossdock.mapping import language
from crossdock.pool import Pool
from crossdock.rules import settings as site_settings
from crossdock.rules.v1_orders import Account
from crossdock.rules.v1_profiles import Profiles, kept_of
from crossdock.systems.channel_advisor.protocol import sites_of
from crossdock.systems.channel_advisor.v1 import documents, export, odata, refunds
from crossdock.systems.channel_advisor.v1.client import API, Client, decode
from crossdock.systems.paging import Page, Single, Split, Unmade

log = logging.getLogger(__name__)

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
EXPORT_FROM = 10_000  # products
# What is turned at once: enough to be fast, for a frame costs a third of a second however small it is; little enough
# for memory and for reading and turning to overlap.
FRAME, FRAME_BYTES = 4_000, 32 << 20
WIDEST, SHORTEST = timedelta(days=4096), timedelta(hours=1)  # of a slice
QUIET, FULL = 5, 40  # pages of a slice: after no more the next one is twice as wide, after more half as wide
LONGEST_FILTER = 1_400  # bytes of the filters that name keys: an address may have some 2,000
CLOSED = ("PostProcessingComplete", "RejectionCompleted", "InformationOnly", "NoChange")  # states that end a request
ADJUSTMENTS = ("OrderItemAdjustments", "OrderAdjustments")
ORDER_PARTS = "Items($expand=Promotions,BundleComponents,Adjustments),Fulfillments($expand=Items),Adjustments"


@dataclass(frozen=True)
class List:
    """How a list of the contract is read: v1's entity set, its mapping, its parts, and the dates that move."""

    entities: str
    kind: str
    expand: str = ""
    select: str = ""
    dates: tuple[str, ...] = ()
    of_profile: bool = True
    in_file: bool = False  # ProductExport has all that is selected
    by_sku: bool = False  # of the kept profiles: a SKU is a key in one profile only


_MOVES = ("UpdateDateUtc", "CreateDateUtc")  # of a product; the first may be null until it is changed
_OFFER = "ID,ProfileID,Sku,CreateDateUtc,UpdateDateUtc"
LISTS = {
    "orders": List("Orders", "order", ORDER_PARTS, dates=("UpdatedDateUtc", "ImportDateUtc")),
    "shipping": List("Fulfillments", "shipment", "Items", dates=("UpdatedDateUtc", "CreatedDateUtc")),
    "returns": List("Orders", "return", "Items($expand=Adjustments),Adjustments"),
    "products": List(
        "Products", "product", "Attributes,Images,BundleComponents", dates=_MOVES, by_sku=True
    ),
    "inventory": List(
        "Products", "inventory", "DCQuantities", f"{_OFFER},QuantityUpdateDateUtc", _MOVES,
        by_sku=True,
    ),
    "prices": List(
        "Products", "price", "", f"{_OFFER},BuyItNowPrice,MinPrice,MaxPrice,RetailPrice", _MOVES,
        by_sku=True, in_file=True,
    ),
    "sites": List("Sites", "site", of_profile=False),
    "distribution-centers": List("DistributionCenters", "distribution_center", of_profile=False),
}  # fmt: skip


def received_as(resource: str) -> tuple[str, str] | None:
    """Contract and schema of the entity that the documents of a list are made of; None of a list that v1 has not."""
    one = LISTS.get(resource)
    return language.load(f"{documents.FOLDER}/{one.kind}").source if one else None


@dataclass
class Part:
    """A slice [start, end) of a window, in whole seconds; without one: from the first, to the last. `pages`: the
    server's clock at each of its pages."""

    start: datetime | None
    end: datetime | None
    is_end: bool  # of the window
    pages: list[datetime] = field(default_factory=list)

    @property
    def reached(self) -> datetime:
        return self.start or FIRST

    @property
    def is_last(self) -> bool:
        """Whether the slice reaches beyond the present, or to the end of the window."""
        return self.is_end or self.end is None or bool(self.pages and self.end > self.pages[0])

    def of(self, *dates: str) -> str:
        """The filter of those of which one of these dates is within the slice; "" for all."""
        if self.start is None and self.end is None:
            return ""
        within = []
        for name in dates:
            since = f"{name} ge {odata.moment(self.start)}" if self.start else ""
            until = f"{name} lt {odata.moment(self.end)}" if self.end else ""
            both = odata.every(since, until) or ""
            within.append(f"({both})" if since and until and len(dates) > 1 else both)
        return odata.some(within)


class Slices:
    """The slices of a window, the oldest first: as many pages each as is good, seen by the one before."""

    def __init__(self, since: datetime | None, before: datetime | None) -> None:
        self.since = since and since.astimezone(UTC).replace(microsecond=0)
        self.before = before and before.astimezone(UTC)
        if self.before and self.before.microsecond:
            self.before = self.before.replace(microsecond=0) + timedelta(seconds=1)

    def __iter__(self) -> Iterator[Part]:
        start, width = self.since, timedelta(days=1)
        while True:
            end = None if start is None else start + width
            if self.before and (end is None or end >= self.before):
                end = self.before
            part = Part(start, end, end == self.before)
            yield part
            if part.is_last:
                return
            start = end
            width = min(width * 2, WIDEST) if len(part.pages) <= QUIET else width
            width = max(width / 2, SHORTEST) if len(part.pages) > FULL else width


class Reading(Client):
    """What each call gives is in `protocol.ChannelAdvisor`."""

    # ---- what the flows ask for

    def pages(
        self,
        resource: str,
        *,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> Iterator[Page]:
        """See `protocol.ChannelAdvisor`. Rows are not sorted by last change: `complete_to` of a page says which are on
        the pages before. Filters: `sku` of products, inventory and prices; `channelAdvisorOrderId` of shipping and
        returns; `key` of returns."""
        one = self._list(resource)
        keys = filters.pop("key", None)
        more = self._filters(resource, one, filters)
        if keys is not None:
            found = self._of_keys(one, keys)
        elif one.kind == "return":
            found = self._returns(one, since, before, more, limit or FRAME)
        elif not one.dates or (since is None and before is None):
            by_file = one.in_file and filters.get("sku") is None and self._count(one, more[0]) > self.export_from
            found = (
                (FIRST, split) for some in more for split in (self._exported if by_file else self._by_key)(one, some)
            )
        else:
            found = (each for some in more for each in self._window(one, since, before, some))
        return self._made(one, found, limit or FRAME)

    def received_as(self, resource: str) -> tuple[str, str] | None:
        """The entity of v1 that the documents of a list are made of."""
        return received_as(resource)

    def record(self, resource: str, key: str) -> bytes:
        """The JSON of one record, of an entity or of those of a return. RecordRejected(status=404) when there is none,
        and RecordRejected where no document can be made of it."""
        document = self.single(resource, key).document
        if isinstance(document, Unmade):
            raise RecordRejected(document.message, 422, code=document.rule, do=document.do, system=self.connection.name)
        return bytes(document)

    def single(self, resource: str, key: str) -> Single:
        """The same, with the entity that it was made of."""
        one = self._list(resource)
        made = documents.make(one.kind, [self._entity(one, key)], self._account(one))
        for why in made.unmade:
            return Single(why, why.received)
        for document, received in zip(made.documents, made.received, strict=True):
            return Single(document, received)
        raise self._none(resource, key)

    def of_skus(self, resource: str, skus: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of these SKUs, decoded; several portions at once."""
        if not skus:
            return []
        return [decode(raw) for page in self.pages(resource, sku=list(skus)) for raw in page.records]

    # ---- the account

    def profiles_covered(self) -> dict[int, str]:
        """See `protocol.ChannelAdvisor`."""
        rows = [one for one in self.rows("/Profiles") if isinstance(one, dict) and isinstance(one.get("ID"), int)]
        return {one["ID"]: str(one.get("AccountName") or one.get("CompanyName") or "") for one in rows}

    def newest_sites(self, most: int) -> dict[int, str]:
        """See `protocol.ChannelAdvisor`."""
        query = {"$select": "ID,SiteID,SiteName", "$orderby": "ID desc"}
        where = {"$filter": self._of_profile(LISTS["orders"]) or None}
        found: dict[int, str] = {}
        count = 0
        for page in odata.pages(self._http, f"{API}/Orders", query | where, self.connection, self.limits):
            found |= sites_of(page.records)
            count += len(page.records)
            if count >= most:
                break
        return found

    def _account(self, one: List) -> Account:
        """What the rules need to know of the account for a list."""
        settings = site_settings.load()
        if one.by_sku:
            return Account(settings, self._currencies if one.kind == "price" else {}, profiles=self.kept)
        return Account(settings, profile=self.profile if one.kind == "distribution_center" else 0)

    @cached_property
    def _currencies(self) -> Mapping[int, str]:
        """The currency of each profile that the token covers."""
        return {int(one["ID"]): str(one.get("CurrencyCode") or "") for one in self.rows("/Profiles")}

    @property
    def profile(self) -> int:
        """The first profile that the connection names, else the only one."""
        return self.profiles[0] if self.profiles else min(self._currencies, default=0)

    @cached_property
    def other_profiles(self) -> tuple[int, ...]:
        """See `protocol.ChannelAdvisor`."""
        return self.kept.kept[1:]

    @cached_property
    def kept(self) -> Profiles:
        """The profiles whose products, quantities and prices are kept."""
        if len(self.profiles) < 2:
            return Profiles(self.profiles)
        return Profiles(kept_of(self.profiles, self._currencies))

    def facts(self) -> list[str]:
        """See `protocol.ChannelAdvisor`."""
        found = super().facts()
        for one in self.profiles:
            if len(self.profiles) > 1 and one not in self.kept.kept:
                found.append(
                    f"Prices of profile {one} are in {self._currencies.get(one)}, those of {self.profile} in "
                    f"{self._currencies.get(self.profile)}: of {one} orders, shipments and returns are taken, and its "
                    "products, quantities and prices are left alone."
                )
        return found

    # ---- filters

    def _list(self, resource: str) -> List:
        if resource == "listings":
            raise ConfigError(
                self.can.why_not("listings"), do="Switch the catalog's listings off.", system="channel_advisor"
            )
        if resource not in LISTS:
            raise ConfigError(
                f"Channel Advisor's API v1 gives no list {resource!r}{did_you_mean(resource, LISTS)}.",
                do=f"The lists are: {', '.join(LISTS)}.",
                system=self.connection.name,
            )
        return LISTS[resource]

    def _of_profile(self, one: List) -> str:
        if not one.of_profile:
            return ""
        chosen = self.kept.kept if one.by_sku else self.profiles
        return odata.some(f"ProfileID eq {each}" for each in chosen)

    def _of_names(self, names: Iterable[str]) -> list[str]:
        """The filters of products by their names, each as long as an address can hold."""
        found = []
        for profile, skus in self.kept.by_profile(names).items():
            mine = f"ProfileID eq {profile}" if profile else ""
            found += [odata.every(mine, some) or "" for some in portions(f"Sku eq {odata.text(sku)}" for sku in skus)]
        return found

    def _filters(self, resource: str, one: List, given: Mapping[str, Any]) -> list[str]:
        """The filters besides the window, one a request."""
        rest = {name: value for name, value in given.items() if value is not None and name != "profileId"}
        skus, order = rest.pop("sku", None), rest.pop("channelAdvisorOrderId", None)
        fits = (skus is None or one.by_sku) and (order is None or one.kind in ("shipment", "return"))
        if rest or not fits:
            raise ConfigError(
                f"The list {resource} of Channel Advisor's API v1 takes no such filter: {', '.join(given)}.",
                do="This is a fault of Crossdock; report it.",
                system=self.connection.name,
            )
        profile = self._of_profile(one)
        if skus is not None:
            return self._of_names([skus] if isinstance(skus, str) else skus)
        name = "ID" if one.kind == "return" else "OrderID"
        return [odata.every(profile, f"{name} eq {int(order)}" if order is not None else "") or ""]

    # ---- entities

    def _by_key(self, one: List, where: str) -> Iterator[Split]:
        """All entities of a filter by their IDs, each with all its parts."""
        query = {"$expand": one.expand or None, "$select": one.select or None}
        path = f"{API}/{one.entities}"
        for split in odata.by_key(self._http, path, query, where, self.connection, self.limits):
            yield replace(split, records=self._completed(one, split.records))

    def _exported(self, one: List, where: str) -> Iterator[Split]:
        """All entities of the kept profiles by a file of each: where they are very many, a list of them would be
        thousands of pages."""
        for profile in self.kept.kept or (self.profile,):
            began, entities = export.products(self, profile, one.select.split(","))
            while portion := [msgspec.Raw(each) for each in islice(entities, FRAME)]:
                yield Split(portion, began, None)

    @property
    def export_from(self) -> int:
        """So many products are read by a file: `export_from` in the connection's extra."""
        try:
            return int(self.connection.extra.get("export_from", EXPORT_FROM))
        except (TypeError, ValueError):
            raise ConfigError(
                f"The connection {self.connection.name} names an export_from that is no number.",
                do=f"Set export_from in the extra of {self.connection.variable} to a number of products.",
                system=self.connection.name,
            ) from None

    def _count(self, one: List, where: str) -> int:
        return self.request("GET", f"/{one.entities}/$count", odata.count, query={"$filter": where or None})

    def _completed(self, one: List, given: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
        """The entities; those with a truncated list are read whole, several at once. One that is gone is left out."""
        truncated = [at for at, each in enumerate(given) if odata.is_truncated(each)]
        if not truncated:
            return list(given)
        found: dict[int, msgspec.Raw | None] = {}
        with Pool(self.limits.at_once, "whole") as pool:
            wholes = pool.map(lambda at: self._read_whole(one, given[at]), truncated)
            found = dict(zip(truncated, wholes, strict=True))
        each = (found.get(at, raw) for at, raw in enumerate(given))
        return [raw for raw in each if raw is not None]

    def _read_whole(self, one: List, entity: msgspec.Raw) -> msgspec.Raw | None:
        """One entity by its key; None where it is gone. A list in it that goes on even there is read to its end."""
        number = odata.id_of(entity)
        try:
            whole = self._get(f"/{one.entities}({number})", one)
        except RecordRejected as refused:
            if refused.status == 404:
                return None
            raise
        return msgspec.Raw(odata.completed(whole, self._link) if odata.is_truncated(whole) else whole)

    def _link(self, link: str) -> list[Any]:
        """The rest of a list within an entity, decoded."""
        first = odata.on_own_server(link, odata.ROOT, self.connection, "a list within an entity")
        pages = odata.pages(self._http, first, {}, self.connection, self.limits)
        return [decode(raw) for page in pages for raw in page.records]

    def _get(self, path: str, one: List) -> bytes:
        return self._http.request("GET", API + path, odata.entity, query={"$expand": one.expand or None})

    def _entity(self, one: List, key: str) -> bytes:
        """The entity of one key of the contract. RecordRejected(status=404) when there is none."""
        if one.by_sku:
            account = self._account(one)
            (where,) = self._of_names([key])
            for split in self._by_key(one, where):
                for raw in split.records:
                    if odata.folded(documents.key_of(one.kind, raw, account)) == odata.folded(key):
                        return bytes(raw)
            raise self._none(one.entities, key)
        if one.kind == "return":
            return self._return(one, key)
        whole = self._read_whole(one, msgspec.Raw(b'{"ID":%d}' % self._number(one, key)))
        if whole is None or (one.kind == "shipment" and not refunds.has_left(whole)):
            raise self._none(one.entities, key)
        return bytes(whole)

    def _number(self, one: List, key: str) -> int:
        try:
            return int(key)
        except ValueError:
            raise self._none(one.entities, key) from None

    def _none(self, what: str, key: str) -> RecordRejected:
        return RecordRejected(
            f"Channel Advisor has no {segment(key)} in {what}.", 404, do="Check the key.", system=self.connection.name
        )

    def _of_ids(self, one: List, ids: Iterable[int]) -> Iterator[Split]:
        """The entities of these IDs."""
        for some in portions(f"ID eq {each}" for each in sorted(ids)):
            yield from self._by_key(one, odata.every(self._of_profile(one), some) or "")

    # ---- windows

    def _window(
        self, one: List, since: datetime | None, before: datetime | None, more: str
    ) -> Iterator[tuple[datetime, Split]]:
        """The entities that changed within a window, slice by slice; with each page the moment up to which all are on
        the pages before."""
        for part in Slices(since, before):
            seen: set[int] = set()
            for split in self._by_key(one, odata.every(more, part.of(*one.dates)) or ""):
                part.pages.append(split.server_time)
                seen.update(each for each in map(odata.id_of, split.records) if each is not None)
                yield part.reached, self._before(split, before)
            if one.kind == "order":
                orders = {order for _, order in self._changed(part)} - seen
                for split in self._of_ids(one, orders):
                    yield part.reached, split

    def _before(self, split: Split, before: datetime | None) -> Split:
        """The page without what has changed since the end of the window, which the next window has."""
        if before is None:
            return split
        return replace(split, records=[raw for raw in split.records if odata.changed(raw, before)])

    def _changed(self, part: Part, more: str = "") -> Iterator[tuple[int, int]]:
        """The adjustments that were made or refunded within a slice, and in the last one all that are still open: their
        numbers (below 0 of whole orders) and their orders."""
        dated = part.of("CreatedDateUtc", "SiteRefundDateUtc")
        still_open = " and ".join(f"RequestStatus ne {odata.text(each)}" for each in CLOSED)
        where = odata.some([dated, f"({still_open})"]) if dated and part.is_last else dated
        for sign, entities in zip((1, -1), ADJUSTMENTS, strict=True):
            given = odata.every(self._of_profile(LISTS["orders"]), more, where)
            query = {"$select": "ID,OrderID"}
            for split in odata.by_key(self._http, f"{API}/{entities}", query, given, self.connection, self.limits):
                part.pages.append(split.server_time)
                for raw in split.records:
                    found = refunds.order_of(raw)
                    if found is not None:
                        yield sign * found[0], found[1]

    # ---- returns

    def _returns(
        self, one: List, since: datetime | None, before: datetime | None, more: Sequence[str], most: int
    ) -> Iterator[tuple[datetime, Split]]:
        """Orders with the parts of one return each, of which an adjustment changed in the window or is still open."""
        if "ID eq" in more[0]:
            for split in self._by_key(one, more[0]):
                yield FIRST, replace(split, records=refunds.returns_of(split.records))
            return
        for part in Slices(since, before):
            for touched in _by_order(self._changed(part, "Type eq 'Refund'"), most):
                yield part.reached, Split([], part.pages[0], None)
                for split in self._of_ids(one, touched):
                    yield part.reached, replace(split, records=refunds.returns_of(split.records, touched))

    def _of_keys(self, one: List, keys: Sequence[str]) -> Iterator[tuple[datetime, Split]]:
        """The returns of these keys, or of the orders around them."""
        touched: dict[int, set[int]] = {}
        for sign, entities in zip((1, -1), ADJUSTMENTS, strict=True):
            numbers = sorted(abs(number) for number in map(int, keys) if number * sign > 0)
            for some in portions(f"ID eq {each}" for each in numbers):
                where = odata.every(self._of_profile(one), some)
                query, path = {"$select": "ID,OrderID"}, f"{API}/{entities}"
                for split in odata.by_key(self._http, path, query, where, self.connection, self.limits):
                    for number, order in filter(None, map(refunds.order_of, split.records)):
                        touched.setdefault(order, set()).add(sign * number)
        for split in self._of_ids(one, touched):
            yield FIRST, replace(split, records=refunds.returns_of(split.records, touched))

    def _return(self, one: List, key: str) -> bytes:
        number = self._number(one, key)
        entities = ADJUSTMENTS[0] if number > 0 else ADJUSTMENTS[1]
        order = self.get(f"/{entities}({abs(number)})")["OrderID"]
        whole = self._read_whole(one, msgspec.Raw(b'{"ID":%d}' % order))
        found = refunds.returns_of([whole], {order: {number}}) if whole else []
        if not found:
            raise self._none("returns", key)
        return bytes(found[0])

    # ---- documents

    def _made(self, one: List, found: Iterator[tuple[datetime, Split]], most: int) -> Iterator[Page]:
        """Pages of documents. A frame of entities is turned while the next one is read."""
        account = self._account(one)
        number = 0
        with Pool(1, "turn") as pool:
            pending: Future[Page] | None = None
            try:
                for number, frame in enumerate(_frames(found, most), 1):
                    if pending:
                        yield pending.result()
                    pending = pool.submit(self._turned, one, frame, account, number)
            except Exception:
                if pending:
                    yield pending.result()
                raise
            if pending:
                yield pending.result()

    def _turned(self, one: List, frame: Sequence[tuple[datetime, Split]], account: Account, number: int) -> Page:
        entities = [bytes(raw) for _, split in frame for raw in split.records]
        if one.kind == "shipment":
            entities = [each for each in entities if refunds.has_left(each)]
        made = documents.make(one.kind, entities, account)
        for warning in made.warnings - self._warned:
            log.warning("%s", warning)
        self._warned |= made.warnings
        reached, first = frame[0]
        return Page(made.documents, first.server_time, number, made.received, made.unmade, reached)

    @cached_property
    def _warned(self) -> set[str]:
        return set()


def _frames(found: Iterator[tuple[datetime, Split]], most: int) -> Iterator[list[tuple[datetime, Split]]]:
    """Pages together, up to `most` rows or a little more; what has been read before an error, too."""
    frame: list[tuple[datetime, Split]] = []
    size = length = 0
    try:
        for each in found:
            frame.append(each)
            size += len(each[1].records)
            length += sum(len(bytes(raw)) for raw in each[1].records)
            if size >= most or length >= FRAME_BYTES:
                yield frame
                frame, size, length = [], 0, 0
    except Exception:
        if frame:
            yield frame
        raise
    if frame:
        yield frame


def _by_order(changed: Iterable[tuple[int, int]], most: int) -> Iterator[dict[int, set[int]]]:
    """Adjustments by their orders, up to `most` orders at once, so that the first ones need not wait for all; at least
    one portion, which may be empty."""
    touched: dict[int, set[int]] = {}
    for number, order in changed:
        if len(touched) >= most and order not in touched:
            yield touched
            touched = {}
        touched.setdefault(order, set()).add(number)
    yield touched


def portions(conditions: Iterable[str]) -> Iterator[str]:
    """Filters of as many conditions, one of which must hold, as an address may have."""
    some: list[str] = []
    size = 0
    for each in conditions:
        more = len(quote_plus(f"{each} or "))
        if some and size + more > LONGEST_FILTER:
            yield odata.some(some)
            some, size = [], 0
        some.append(each)
        size += more
    if some:
        yield odata.some(some)
