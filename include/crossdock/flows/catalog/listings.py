"""The catalogue, listings: opens, pauses and ends listings on each site that catalog.yaml names.

In: staged rows whose products exist, the listings in `ref`. Out: listings created, made Active, Paused or Ended; the
site's refusals as dead letters in its words. Never: a price or a quantity; a listing that a person has ended reopened
without a person asking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient
from crossdock.flows.catalog.transform import ChannelProduct, Outcome, products
from crossdock.keys import segment
from crossdock.reference import channel
from crossdock.rules import catalogue
from crossdock.rules.catalogue import ON, Step
from crossdock.rules.order_changes import CROSSDOCK
from crossdock.steps.load import Answer, answer_of, chunked, put_each
from crossdock.store import database, deliveries, raw
from crossdock.store.deliveries import Effect
from crossdock.store.tables import ops_dead_letter, ref_channel_listing
from crossdock.systems import limits

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

FLOW = "catalog"
ENTITY = "channel_listing"
ENDED_THERE = "listing_ended_on_channel"
ADVICE = (
    "Mend what the site names, in TIMS (the item's next version tries again by itself) or at the channel; then replay."
)


class _Place(NamedTuple):
    """An item's product on a site: the wanted listing, and those held there. `link`: of the listing that we manage."""

    row: sa.Row
    product: ChannelProduct
    main: bool
    wanted: Mapping[str, Any]
    held: list[dict[str, Any]]
    link: sa.Row | None

    @property
    def name(self) -> str:
        return f"{self.product.sku}@{self.wanted['SiteID']}"


class _Call(NamedTuple):
    """One call to make. `body`: what is sent; `listing_id` is None for a listing to be created."""

    place: _Place
    listing_id: int | None
    body: dict[str, Any]

    @property
    def operation(self) -> str:
        if self.listing_id is None:
            return "create"
        return {"Active": "activate", "Paused": "pause", "Ended": "end"}.get(self.body.get("Status", ""), "update")

    @property
    def delivery(self) -> str:
        hashed = raw.digest(database.to_json(self.body).encode())[:16]
        return f"listing:{self.place.name}:{self.listing_id or 'new'}:{self.operation}:{hashed}"


def write(runtime: Runtime, batch: sa.Row, rows: Sequence[sa.Row], outcome: Outcome) -> None:
    """Creates the missing listings, then updates those that differ."""
    if not rows:
        return
    places = _adopted(runtime, batch, _places(runtime, rows))
    facts = _Facts(runtime, places)
    requested = batch.kind == "replay"
    new = [
        _Call(place, None, {"SKU": place.product.sku, "SiteID": place.wanted["SiteID"],
                            "Title": place.wanted["Title"], "Category": place.wanted["Category"]})
        for place in places
        for step in _steps(place, facts, requested)
        if step.action == "create"
    ]  # fmt: skip
    _send(runtime, batch, new, outcome)
    calls = []
    for place in _places(runtime, rows) if new else places:
        if place.row.key in outcome.refused or place.row.key in outcome.pending:
            continue
        for step in _steps(place, facts, requested):
            if step.action == "update":
                calls.append(_Call(place, step.listing_id, dict(step.changes)))
            elif step.action == "wait":
                where = f"site {place.wanted['SiteID']}"
                outcome.waiting[place.row.key] = f"It is not listed on {where} yet: {step.why}."
            elif step.action == "dead":
                _refuse(outcome, place.row.key, list(_words(place, step, facts)))
    _send(runtime, batch, calls, outcome)


# ---- listings of the channel ---------------------------------------------------------------------------------------


def _places(runtime: Runtime, rows: Sequence[sa.Row]) -> list[_Place]:
    with runtime.engine.begin() as connection:
        held, _ = products(connection, [row.key for row in rows])
        skus = [one.sku for some in held.values() for one in some]
        listed: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for sku, site, payload in connection.execute(
            sa.select(ref_channel_listing.c.sku, ref_channel_listing.c.site_id, ref_channel_listing.c.payload)
            .where(ref_channel_listing.c.sku.in_(skus))
            .order_by(ref_channel_listing.c.listing_id)
        ):
            listed.setdefault((sku, site), []).append(payload)
        places = [
            _Place(row, one, number == 0, wanted, listed.get((one.sku, wanted["SiteID"]), []), None)
            for row in rows
            for number, one in enumerate(held.get(row.key, ()))
            for wanted in row.listings
        ]
        links = deliveries.links(connection, ENTITY, [place.name for place in places])
    return [place._replace(link=links.get(place.name)) for place in places]


def _adopted(runtime: Runtime, batch: sa.Row, places: Sequence[_Place]) -> list[_Place]:
    """Links wanted listings that somebody else has made: we manage them from now on. Returns the places."""
    found = {}
    for place in places:
        current = next((one for one in place.held if one["Status"] != "Ended"), None)
        existing = place.link is not None and current is not None and place.link.target_id == str(current["ListingID"])
        if current is not None and not existing and place.main and place.wanted["Status"] in ON:
            found[place.name] = _link(batch, place, current)
    if not found:
        return list(places)
    with runtime.engine.begin() as connection:
        deliveries.link(connection, list(found.values()))
        links = deliveries.links(connection, ENTITY, list(found))
    return [place._replace(link=links.get(place.name, place.link)) for place in places]


class _Facts:
    """Prices, units and dismissals that decide about listings: read once per batch, and only where they matter."""

    def __init__(self, runtime: Runtime, places: Sequence[_Place]) -> None:
        opening = [
            place.product.sku
            for place in places
            if place.main and place.wanted["Status"] in ON
            and all(one["Status"] in ("Draft", "Ended") for one in place.held)
        ]  # fmt: skip
        prices = runtime.channel_advisor.of_skus("prices", opening) if opening else []
        self.priced = {one["SKU"] for one in prices if one.get("Price") is not None}
        self.units = {
            key: _units(runtime, key) for key in sorted({place.row.key for place in places if _selling_off(place)})
        }
        with runtime.engine.begin() as connection:
            self.dismissed = _dismissed(connection, [place.row.key for place in places])


def _selling_off(place: _Place) -> bool:
    return place.wanted["Status"] == "SellOff" and any(one["Status"] != "Ended" for one in place.held)


def _units(runtime: Runtime, sku: str) -> int:
    """Reads the units that TIMS has left of an item; 0 of one without stock."""
    try:
        answer = runtime.tims.get(f"inventory/items/{segment(sku)}/quantity")
    except RecordRejected as error:
        if error.status != 404:
            raise
        return 0
    return int(answer["TotalAvailable"])


def _dismissed(connection: sa.Connection, keys: Sequence[str]) -> set[tuple[str, str]]:
    """Reads (item, listing) of the ended listings whose dead letter a person has dismissed: they stay ended."""
    table = ops_dead_letter
    rows = connection.execute(
        sa.select(table.c.key, table.c.reasons).where(
            table.c.flow == FLOW,
            table.c.state == "dismissed",
            table.c.key.in_(keys),
            table.c.reasons.contains([{"rule": ENDED_THERE}]),
        )
    )
    return {(key, one["value"]) for key, some in rows for one in some if one["rule"] == ENDED_THERE}


def _steps(place: _Place, facts: _Facts, requested: bool) -> list[Step]:
    """The changes of a place's listings. Of an item with several products only the main one is listed."""
    wanted = place.wanted if place.main or place.wanted["Status"] not in ON else {**place.wanted, "Status": "Unlisted"}
    link = place.link
    ours = {"listing_id": int(link.target_id), "ended": link.held_by is not None} if link else None
    steps = catalogue.listing_steps(
        wanted,
        place.held,
        ours,
        retry=requested or (link is not None and link.content_hash != place.row.content_hash),
        reopen=requested,
        priced=place.product.sku in facts.priced,
        units=facts.units.get(place.row.key),
    )
    return [step for step in steps if not _left_ended(place, step, facts)]


def _left_ended(place: _Place, step: Step, facts: _Facts) -> bool:
    return step.action == "dead" and (place.row.key, str(step.listing_id)) in facts.dismissed


def _words(place: _Place, step: Step, facts: _Facts) -> Iterator[dict]:
    """The reasons of a dead letter for a listing that is not on sale, in the site's words."""
    site, number = place.wanted["SiteID"], str(step.listing_id)
    if step.why == catalogue.ENDED:
        yield {
            "field": "Listing", "rule": ENDED_THERE, "value": number, "line": str(site),
            "says": f"Somebody has ended the listing {number} on site {site} at the channel; an ended one stays ended.",
            "do": "Replay this to list it anew; dismiss it to leave it ended, or take it out of catalog.yaml.",
        }  # fmt: skip
        return
    listing = next(one for one in place.held if one["ListingID"] == step.listing_id)
    for error in listing.get("Errors") or [{}]:
        yield {
            "field": error.get("Field", ""), "rule": "listing_error", "line": str(site),
            "value": error.get("Code", ""),
            "says": f"Site {site} refuses the listing {number}: {error.get('Message') or 'it does not say why'}",
            "do": ADVICE,
        }  # fmt: skip


def _refuse(outcome: Outcome, key: str, found: list[dict]) -> None:
    outcome.refused.setdefault(key, []).extend(found)


# ---- calling -------------------------------------------------------------------------------------------------------


def _send(runtime: Runtime, batch: sa.Row, calls: Sequence[_Call], outcome: Outcome) -> None:
    """Makes the calls, several at once. After each it keeps the link and the listing as it is now."""
    client = runtime.channel_advisor

    def keep(connection: sa.Connection, answered: Sequence[tuple[_Call, Answer]]) -> None:
        sent = [(one, answer.result) for one, answer in answered if answer.taken]
        channel.keep(connection, channel.LISTINGS, [listing for _, listing in sent])
        deliveries.link(connection, [_link(batch, one.place, listing) for one, listing in sent])
        for one, answer in answered:
            key = one.place.row.key
            if answer.taken:
                outcome.changed.add(key)
            elif answer.refused and answer.status in (404, 409):  # somebody has changed it: read it again
                _reread(connection, client, one)
                outcome.pending.add(key)
            elif answer.refused:
                _refuse(outcome, key, answer.refused)
            else:
                outcome.pending.add(key)

    put_each(
        runtime, FLOW, batch.id, list(chunked(calls, 1)), keep=keep,
        effect=lambda one: Effect(ENTITY, one.operation, one.place.row.key, one.delivery, one.place.row.content_hash),
        send=lambda portion: [_call(client, one) for one in portion],
        at_once=limits.load("channel_advisor").at_once,
    )  # fmt: skip


def _call(client: Any, one: _Call) -> Answer:
    try:
        listing = _written(client, one)
    except (RecordRejected, Transient) as error:
        return answer_of(error, do=ADVICE, target=f"Site {one.place.wanted['SiteID']}")
    return Answer(200, str(listing["ListingID"]), result=listing)


def _written(client: Any, one: _Call) -> dict[str, Any]:
    if one.listing_id is not None:
        return client.update_listing(one.listing_id, one.body)
    try:
        return client.create_listing(one.body)
    except RecordRejected as error:
        if error.code == "DuplicateListing" and error.existing_id:  # it exists: an earlier answer was lost
            return _listing(client, error.existing_id)
        raise


def _listing(client: Any, listing_id: Any) -> dict[str, Any]:
    return database.from_json(client.record("listings", str(listing_id)))


def _reread(connection: sa.Connection, client: Any, call: _Call) -> None:
    """Reads a listing again that differs from the one in `ref`."""
    try:
        found = [_listing(client, call.listing_id)] if call.listing_id else []
        found += client.of_skus("listings", [call.place.product.sku])
        channel.keep(connection, channel.LISTINGS, found)
    except RecordRejected:  # it was deleted
        connection.execute(sa.delete(ref_channel_listing).where(ref_channel_listing.c.listing_id == call.listing_id))
    except Transient:
        return


def _link(batch: sa.Row, place: _Place, listing: Mapping[str, Any]) -> dict[str, Any]:
    """The link of the listing that we manage on a site. `held_by`: we ended it ourselves, so we may open another."""
    return {
        "entity": ENTITY,
        "source_key": place.name,
        "target_id": str(listing["ListingID"]),
        "other_key": place.row.key,
        "content_hash": place.row.content_hash,
        "version": place.row.version,
        "batch_id": batch.id,
        "held_by": CROSSDOCK if listing["Status"] == "Ended" else None,
    }
