"""Sends the batch, and records the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock.errors import ConfigError, CrossdockError, RecordRejected
from crossdock.flow import Flow
from crossdock.flows import documents
from crossdock.flows.prices.transform import LISTING_PRICE, PRICE
from crossdock.mapping import language
from crossdock.mapping.frames import SCALE
from crossdock.pool import Pool
from crossdock.rules import price_settings, pricing
from crossdock.rules.price_settings import PriceSettings
from crossdock.steps.load import Answer, chunked, not_taken, put_each, reasons, record_outcomes, write_bodies
from crossdock.store import alerts, approvals, batches, database, deliveries, leases, sql
from crossdock.store.deliveries import Effect
from crossdock.store.tables import (
    ops_delivery,
    ref_channel_listing,
    ref_channel_price,
    stage_price,
    stage_price_line,
)
from crossdock.systems import times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


NAME = "prices"
AT_ONCE = 4  # requests at once, within the system's budget
BATCH = 500  # prices per request, the contract's limit
ASKED = 100  # SKUs per request of the list of prices
FORCED_KINDS = ("compare", "key", "replay")  # kinds of batches that are compared with the channel in any case
ADVICE = "Correct include/config/prices.yaml or the lookups beside it, or the product at the channel; then replay it."
START, END, UPDATE = "start_promotion", "end_promotion", "update"  # operations of deliveries

_LINES = sql.statement(__package__, "lines")


class ChannelPrice(NamedTuple):
    """A price at the channel. A listing has only `price` and `currency`; with price None it follows the product's."""

    price: Decimal | None
    currency: str
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    retail_price: Decimal | None = None
    promotion_id: str | None = None
    promotion_price: Decimal | None = None
    promotion_start: datetime | None = None
    promotion_end: datetime | None = None


@dataclass
class _Work:
    """The state of a batch's load. Lines by `_name`."""

    lines: list[sa.Row]
    links: dict[str, sa.Row]
    present: dict[str, ChannelPrice]
    promoted: set[str]  # listings (and products, with `in_price`) whose last price from us was a promotional one
    in_price: bool  # the channel has no promotional prices: a promotion that runs is the product's price
    to_send: list[sa.Row] = field(default_factory=list)
    in_sync: list[sa.Row] = field(default_factory=list)  # the channel has them already
    held: dict[str, str] = field(default_factory=dict)  # key -> why it waits
    refused: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    pending: set[str] = field(default_factory=set)  # keys
    wrong_currency: bool = False  # the channel refuses the configured one
    used: list[int] = field(default_factory=list)  # approvals of lines in this batch


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Sends prices that differ at the channel; some wait for a person's approval. Raises OutcomeUnknown at the end when
    some were not accepted for now; ConfigError, before anything is sent, for a currency that is not the profile's."""
    settings = price_settings.load()
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        lines = list(connection.execute(_LINES, {"batch": batch_id}))
        links = _links(connection, lines)
        doubtful = doubtful_prices(connection)
    candidates = [
        line for line in lines
        if batch.kind in FORCED_KINDS or _name(line) not in links or _name(line) in doubtful
        or links[_name(line)].content_hash != line.content_hash
    ]  # fmt: skip
    present = _read(runtime, candidates)
    _same_currency(settings, present)
    with runtime.engine.begin() as connection:
        leases.require(connection, flow.name)
        in_price = not runtime.can.promotions
        work = _Work(lines, links, present, _promoted(connection, candidates, in_price), in_price)
        _judge(connection, batch, work, candidates, settings)
        _link(connection, batch, work.in_sync)
        _note_known_prices(connection, work.in_sync)
    _send(runtime, batch, work)
    if work.wrong_currency:
        raise _wrong_currency(settings, "Channel Advisor refuses it for this profile")
    with runtime.engine.begin() as connection:
        approvals.used(connection, work.used)
        _record_outcomes(connection, flow, batch, work)
    if work.pending:
        raise not_taken(len(work.pending), len({line.key for line in lines}), "items' prices")


def _name(line: sa.Row) -> str:
    """The name of a line at the channel: its listing's number, or the product's SKU."""
    return line.sku if line.listing_id is None else f"#{line.listing_id}"


def _entity(line: sa.Row) -> tuple[str, str]:
    """(entity, key) of a line's links and deliveries."""
    return (PRICE, line.sku) if line.listing_id is None else (LISTING_PRICE, str(line.listing_id))


def doubtful_prices(connection: sa.Connection) -> set[str]:
    """Finds names of products and listings that may have an older price, for an answer was lost."""
    products, listings = (deliveries.doubtful(connection, NAME, entity) for entity in (PRICE, LISTING_PRICE))
    return products | {f"#{number}" for number in listings}


def _links(connection: sa.Connection, lines: Sequence[sa.Row]) -> dict[str, sa.Row]:
    products = deliveries.links(connection, PRICE, [line.sku for line in lines if line.listing_id is None])
    numbers = [str(line.listing_id) for line in lines if line.listing_id is not None]
    listings = deliveries.links(connection, LISTING_PRICE, numbers)
    return {**products, **{f"#{number}": row for number, row in listings.items()}}


def _promoted(connection: sa.Connection, lines: Sequence[sa.Row], in_price: bool) -> set[str]:
    """Finds the listings whose last price from us began a promotion; also products, where it is in their price."""
    names = {_entity(line): _name(line) for line in lines if in_price or line.listing_id is not None}
    sent = ops_delivery.c
    rows = connection.execute(
        sa.select(sent.entity, sent.key, sent.operation)
        .ext(distinct_on(sent.entity, sent.key))
        .where(sent.entity.in_({entity for entity, _ in names}), sent.outcome != "rejected")
        .where(documents.among(sent.key, [key for _, key in names]))
        .order_by(sent.entity, sent.key, sent.id.desc())
    )
    began = {(row.entity, row.key) for row in rows if row.operation == START}
    return {name for pair, name in names.items() if pair in began}


# ---- prices at the channel -----------------------------------------------------------------------------------------


def _read(runtime: Runtime, lines: Sequence[sa.Row]) -> dict[str, ChannelPrice]:
    """Reads the present prices of products and listings at the channel, without those that have none."""
    skus = list(dict.fromkeys(line.sku for line in lines))
    present: dict[str, ChannelPrice] = {}

    def ask(some: Sequence[str]) -> list[tuple[str, ChannelPrice, datetime]]:
        return [
            decoded(record)
            for page in runtime.channel_advisor.pages("prices", sku=list(some))
            for record in page.records
        ]

    spelt = {sku.casefold(): sku for sku in skus}
    with Pool(AT_ONCE, "prices") as pool:
        found = [row for rows in pool.map(ask, chunked(skus, ASKED)) for row in rows]
    present.update({spelt[sku.casefold()]: price for sku, price, _ in found if sku.casefold() in spelt})
    table = ref_channel_listing
    numbers = [line.listing_id for line in lines if line.listing_id is not None]
    with runtime.engine.begin() as connection:
        rows = connection.execute(
            sa.select(table.c.listing_id, table.c.price, table.c.currency_code).where(
                table.c.listing_id == sa.any_(sa.bindparam("ids", numbers, type_=sa.ARRAY(sa.BigInteger)))
            )
        )
        present.update({f"#{row.listing_id}": ChannelPrice(row.price, row.currency_code) for row in rows})
    return present


class _Promotion(msgspec.Struct):
    PromotionID: str
    Price: Decimal
    StartDate: str
    EndDate: str


class _Price(msgspec.Struct):
    """Price in the contract."""

    SKU: str
    Price: Decimal
    Currency: str
    UpdatedDate: str
    MinPrice: Decimal | None = None
    MaxPrice: Decimal | None = None
    RetailPrice: Decimal | None = None
    Promotion: _Promotion | None = None


_price = msgspec.json.Decoder(_Price)


def decoded(record: msgspec.Raw) -> tuple[str, ChannelPrice, datetime]:
    """Decodes (SKU, price, when it last changed) from a row of the channel's list."""
    row = _price.decode(record)
    one = row.Promotion
    return (
        row.SKU,
        ChannelPrice(
            row.Price, row.Currency, row.MinPrice, row.MaxPrice, row.RetailPrice,
            *((one.PromotionID, one.Price, times.read(one.StartDate), times.read(one.EndDate)) if one else ()),
        ),
        times.read(row.UpdatedDate),
    )  # fmt: skip


def _wanted(line: sa.Row) -> ChannelPrice:
    """The price that the channel should have for a line."""
    if line.listing_id is not None:
        return ChannelPrice(line.price, line.currency)
    price = ChannelPrice(line.price, line.currency, line.min_price, line.max_price, line.retail_price)
    if line.promotion_price is None:  # no promotion, or one whose price is the product's
        return price
    edges = (times.read(edge) for edge in (line.promotion_start, line.promotion_end))
    return ChannelPrice(*price[:5], line.promotion_id, line.promotion_price, *edges)


def _same_currency(settings: PriceSettings, present: Mapping[str, ChannelPrice]) -> None:
    """Raises ConfigError where the channel's currency is not the configured one."""
    other = next((one.currency for name, one in present.items()
                  if not name.startswith("#") and one.currency != settings.currency), None)  # fmt: skip
    if other:
        raise _wrong_currency(settings, f"the profile's prices at Channel Advisor are in {other}")


def _wrong_currency(settings: PriceSettings, message: str) -> ConfigError:
    return ConfigError(
        f"{settings.file}: currency is {settings.currency}, but {message}.",
        do="Set the profile's currency there; then clear this task. No price was changed to another currency.",
        system="channel_advisor",
    )


# ---- approvals, and sending ----------------------------------------------------------------------------------------


_OVER = sql.statement(__package__, "approvals_over")


def _judge(
    connection: sa.Connection, batch: sa.Row, work: _Work, candidates: Sequence[sa.Row], settings: PriceSettings
) -> None:
    """Sorts the lines into those in sync, those to send, and those that wait for a person."""
    requested = approvals.latest(connection, NAME, [line.key for line in candidates])
    questions, kept = [], []
    for line in candidates:
        name, wanted = _name(line), _wanted(line)
        now, earlier = work.present.get(name), requested.get((line.key, name))
        answer = _answer(earlier, wanted)
        why = "" if now == wanted else _question(line, now, work, settings)
        if earlier is not None and answer == "approved":
            work.used.append(earlier.id)
        if earlier is not None and answer == "open" and why:
            kept.append(earlier.id)
        if now == wanted:
            work.in_sync.append(line)
        elif not why or answer == "approved":
            work.to_send.append(line)
        elif earlier is not None and answer == "refused":
            work.held[line.key] = f"{why} {earlier.decided_by} refused it: {earlier.note or 'no reason given'}."
        else:
            work.held[line.key] = (
                f"{why} It waits for a person, on the page Approvals (or `crossdock prices approvals`)."
            )
            if not answer:
                questions.append(_approval_row(line, name, wanted, now, why))
    approvals.withdraw(connection, connection.scalars(_OVER, {"batch": batch.id, "kept": kept}).all())
    approvals.ask(connection, questions)
    if questions:
        alerts.raise_alert(
            connection, kind="price_approval", key=NAME, flow=NAME, severity="notice",
            title=f"Prices: {len(questions)} changes wait for a person",
            body="Each is far from the price at the channel, or below cost; the other prices go on. Decide on "
            "the page Approvals, by `crossdock prices approvals`, or in the Airflow run of price_approvals that asks.",
        )  # fmt: skip


def _answer(earlier: sa.Row | None, wanted: ChannelPrice) -> str:
    """The state of the approval of exactly this price; "" where none was asked for."""
    if earlier is None:
        return ""
    same = (earlier.to_price, earlier.promotion_price, earlier.currency_code) == (
        wanted.price, wanted.promotion_price, wanted.currency,
    )  # fmt: skip
    return earlier.state if same else ""


def _approval_row(line: sa.Row, name: str, wanted: ChannelPrice, now: ChannelPrice | None, why: str) -> dict[str, Any]:
    """Makes the row of a line's approval."""
    return {
        "flow": NAME, "key": line.key, "target": name, "site_id": line.site_id,
        "from_price": now.price if now else None, "to_price": wanted.price,
        "promotion_price": wanted.promotion_price, "cost": line.cost, "currency_code": line.currency, "why": why,
    }  # fmt: skip


def _question(line: sa.Row, now: ChannelPrice | None, work: _Work, settings: PriceSettings) -> str:
    """Why a line needs a person's approval; "" where it needs none. A price that was sent before and has been changed
    at the channel is sent again without one."""
    link = work.links.get(_name(line))
    if line.price is None or (link is not None and link.content_hash == line.content_hash):
        return ""
    is_listing = line.listing_id is not None
    before = now.price if now else None
    if is_listing and before is None:  # the listing follows the product's price, perhaps in another currency
        product = work.present.get(line.sku)
        before = product.price if product and product.currency == line.currency else None
    own_move = (is_listing or work.in_price) and (line.promotion_id is not None or _name(line) in work.promoted)
    promotion = None if is_listing else line.promotion_price
    return pricing.question(
        int(line.price * SCALE), whole(promotion), int(line.cost * SCALE), whole(before), settings.change,
        own_move=own_move,
    )  # fmt: skip


def whole(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount * SCALE)


def _send(runtime: Runtime, batch: sa.Row, work: _Work) -> None:
    """Sends all products' prices in bulk, then listings' one by one, several requests at once."""
    products = [line for line in work.to_send if line.listing_id is None]
    listings = [line for line in work.to_send if line.listing_id is not None]
    with runtime.engine.begin() as connection:
        bodies = _bodies(connection, batch.id, [line.sku for line in products])
    put = partial(
        put_each, runtime, NAME, batch.id, at_once=AT_ONCE, effect=lambda line: _effect(batch, line, work),
        keep=lambda connection, answered: _keep_answers(connection, batch, work, answered),
    )  # fmt: skip
    put(list(chunked(products, BATCH)), send=lambda some: _send_prices(runtime, some, bodies))
    if not work.wrong_currency:
        put(list(chunked(listings, 1)), send=lambda some: [_send_listing(runtime, line) for line in some])


def _send_prices(runtime: Runtime, lines: Sequence[sa.Row], bodies: Mapping[str, bytes]) -> list[Answer]:
    results = runtime.channel_advisor.write_prices([msgspec.Raw(bodies[line.sku]) for line in lines])
    return [_outcome(line, one.status, one.error) for line, one in zip(lines, results, strict=True)]


def _send_listing(runtime: Runtime, line: sa.Row) -> Answer:
    try:
        runtime.channel_advisor.update_listing(line.listing_id, {"Price": line.price})
    except RecordRejected as error:
        return _outcome(line, error.status, error)
    return _outcome(line, 200, None)


def _outcome(line: sa.Row, status: int, error: CrossdockError | None) -> Answer:
    """Makes the outcome of a line; `result`: whether the channel refuses the currency."""
    if error is None:
        return Answer(status, _entity(line)[1])
    if isinstance(error, RecordRejected):
        wrong = any(one.code == "WrongCurrency" for one in error.refusals)
        return Answer(status, refused=reasons(error, do=ADVICE, target="Channel Advisor"), result=wrong)
    return Answer(status, error=error)


def _bodies(connection: sa.Connection, batch_id: int, skus: Sequence[str]) -> dict[str, bytes]:
    """Makes the PriceUpdate of these products, without promotions that are not the line's."""
    table = language.load("price")
    heads, below = stage_price, stage_price_line
    own = {"SKU": below.c.sku, "Promotion.PromotionID": below.c.promotion_id}
    names = [one.target for one in table.fields]
    sent = [own[n] if n in own else below.c[n] if n in below.c else heads.c[n] for n in names]
    frame = database.copy_out(
        connection,
        sa.select(*(column.label(name) for column, name in zip(sent, names, strict=True)))
        .join_from(heads, below, below.c.key == heads.c.key)
        .where(heads.c.batch_id == batch_id, heads.c.state == "ready", below.c.listing_id.is_(None))
        .where(documents.among(below.c.sku, skus)),
    )
    promotion = [name for name in names if name.startswith("Promotion.")]
    without = frame["Promotion.PromotionID"].isna() | frame["Promotion.Price"].isna()
    frame[promotion] = frame[promotion].mask(without)
    return dict(zip(frame["SKU"].tolist(), write_bodies("price", frame), strict=True))


def _operation(line: sa.Row, work: _Work) -> str:
    """The operation of a delivery: START for a promotion that begins or changes, END for one that ends, else UPDATE."""
    now = work.present.get(_name(line))
    if line.listing_id is not None or work.in_price:
        return START if line.promotion_id else END if _name(line) in work.promoted else UPDATE
    wanted = _wanted(line)
    before = now[5:] if now else ChannelPrice(None, "")[5:]
    return UPDATE if wanted[5:] == before else START if wanted.promotion_id else END


def _delivery(batch: sa.Row, line: sa.Row) -> str:
    entity, key = _entity(line)
    return f"{entity}:{key}:{batch.id}"


def _effect(batch: sa.Row, line: sa.Row, work: _Work) -> Effect:
    entity, key = _entity(line)
    return Effect(entity, _operation(line, work), key, _delivery(batch, line), line.content_hash)


def _keep_answers(
    connection: sa.Connection, batch: sa.Row, work: _Work, answered: Sequence[tuple[sa.Row, Answer]]
) -> None:
    """Records the answer to each line."""
    taken = [line for line, answer in answered if answer.taken]
    _link(connection, batch, taken)
    _note_known_prices(connection, taken)
    for line, answer in answered:
        if answer.refused:
            work.refused[line.key] += answer.refused
            work.wrong_currency |= answer.result
        elif answer.error is not None:
            work.pending.add(line.key)


def _link(connection: sa.Connection, batch: sa.Row, lines: Iterable[sa.Row]) -> None:
    """Links these lines: the channel has them now."""
    rows = []
    for line in lines:
        entity, key = _entity(line)
        rows.append(
            {
                "entity": entity, "source_key": key, "target_id": key, "other_key": line.key,
                "content_hash": line.content_hash, "version": line.version, "batch_id": batch.id,
            }
        )  # fmt: skip
    deliveries.link(connection, rows)


def _note_known_prices(connection: sa.Connection, lines: Sequence[sa.Row]) -> None:
    """Keeps the channel's present prices in `ref`, and records the outcome of calls whose answer was lost."""
    products = [line for line in lines if line.listing_id is None]
    _keep(connection, [(line.sku, _wanted(line)) for line in products])
    listings = [{"listing_id": line.listing_id, "price": line.price} for line in lines if line.listing_id is not None]
    if listings:
        sent_now = database.given(ref_channel_listing, listings)
        connection.execute(
            sa.update(ref_channel_listing)
            .where(ref_channel_listing.c.listing_id == sent_now.c.listing_id)
            .values(price=sent_now.c.price)
        )
    for entity in (PRICE, LISTING_PRICE):
        sent = {_entity(line)[1]: line.content_hash for line in lines if _entity(line)[0] == entity}
        deliveries.written_over(connection, NAME, entity, sent)


def _keep(connection: sa.Connection, prices: Sequence[tuple[str, ChannelPrice]]) -> None:
    if not prices:
        return
    names = [column.name for column in ref_channel_price.columns if column.name != "sku"]
    rows = [{"sku": sku, **dict(zip(names, (*price, None), strict=True))} for sku, price in dict(prices).items()]
    statement = database.insert_all(ref_channel_price, rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[ref_channel_price.c.sku], set_={name: statement.excluded[name] for name in names}
        )
    )


def _record_outcomes(connection: sa.Connection, flow: Flow, batch: sa.Row, work: _Work) -> None:
    """Records the state of every row: dead, waiting for a person, delivered in this batch, or unchanged."""
    keys = dict.fromkeys(line.key for line in work.lines)
    here = _delivered(connection, batch, work.lines)
    rest = [key for key in keys if key not in work.refused and key not in work.held and key not in work.pending]
    record_outcomes(
        connection, flow, batch,
        delivered=[key for key in rest if key in here], unchanged=[key for key in rest if key not in here],
        refused=work.refused,
    )  # fmt: skip
    held = [(key, why) for key, why in work.held.items() if key not in work.refused and key not in work.pending]
    connection.execute(_WAIT, {"batch": batch.id, "keys": [key for key, _ in held], "why": [why for _, why in held]})


_WAIT = sql.statement(__package__, "wait")


def _delivered(connection: sa.Connection, batch: sa.Row, lines: Sequence[sa.Row]) -> set[str]:
    """Finds keys of rows of which this batch has delivered a price, in this try or an earlier one."""
    key_of = {_delivery(batch, line): line.key for line in lines}
    table = ops_delivery
    names = connection.scalars(
        sa.select(table.c.idempotency_key).where(
            documents.among(table.c.idempotency_key, list(key_of)), table.c.outcome == "confirmed"
        )
    )
    return {key_of[name] for name in names}
