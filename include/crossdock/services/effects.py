"""What would change if files of rules were published: prices, quantities, journal entries, documents, dead letters.

In: a draft of some files, stored records. Out: an `Effect`: what differs between the settings in force and the draft,
by the flows' own transform under each. Never: a row, a request; a number that hides what was left out.

Each kind is bounded in records and in time; `truncated` says where it ended. Prices and quantities can be gone on with
from there (`rest`), until all items are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.flow import Flow, Staged
from crossdock.mapping import language
from crossdock.mapping.frames import SCALE
from crossdock.mapping.parse import read_documents
from crossdock.rules import price_settings, v1_orders
from crossdock.services import configuration, letters, mapping_records, personal, taken
from crossdock.services.configuration import Draft, Problem
from crossdock.services.people import Person, Right
from crossdock.services.wording import in_words
from crossdock.settings import base_dir
from crossdock.steps.dry_run import Verdict, dry_run
from crossdock.store import database
from crossdock.store.tables import ops_dead_letter, ref_channel_center, ref_channel_listing

LAST = 500  # records of a flow that are looked at
MOST_ITEMS = 20_000  # whose prices or quantities are looked at at a time
PORTION = 1_000
SECONDS = 5.0  # after which no further portion is begun
SHOWN = 20_000  # rows that differ
MONTH = timedelta(days=31)
MOST_LETTERS = 500

Record = tuple[str, datetime, bytes]  # key, version, payload

# Which flows' documents a file decides; checks name theirs, all others have none that stored records would show.
READERS: dict[str, tuple[str, ...]] = {
    "sites.yaml": ("orders", "shipments", "returns", "ledger_invoices", "ledger_captures"),
    "accounts.yaml": ("payments",),
    "tolerances.yaml": ("returns", "payments"),
    "catalog.yaml": ("catalog",),
    "lookups/listing_categories.csv": ("catalog",),
    "lookups/item_codes.csv": ("orders", "stock_adjustments", "catalog"),
    "lookups/countries.csv": ("orders",),
    "lookups/regions.csv": ("orders",),
    "lookups/taxes.csv": ("orders",),
    "lookups/order_status.csv": ("orders",),
    "lookups/payment_status.csv": ("orders",),
    "lookups/return_reasons.csv": ("returns",),
    "lookups/hold_status.csv": ("holds",),
    "lookups/carriers.csv": ("shipments",),
    "lookups/adjustment_reasons.csv": ("stock_adjustments",),
    "lookups/settlement_kinds.csv": ("payouts",),
    "lookups/exchange_rates.csv": ("payments",),
    "stock.yaml": ("stock_adjustments",),
    "payouts.yaml": ("payouts",),
}
PRICES = ("prices.yaml", "lookups/price_rules.csv", "lookups/promotions.csv", "lookups/exchange_rates.csv")
STOCK = ("stock_offers.yaml", "lookups/stock_rules.csv")
POSTING = ("posting.yaml", "accounts.yaml")
# Read together with what comes next: stored records do not show what it changes.
WITH_THE_NEXT = ("lookups/payout_deposits.csv", "lookups/dispute_outcomes.csv")
# How the API v1 of the channel is read: a document is made when its record is received, and stays as it is.
OF_THE_API = (
    *(f"mappings/{name}.yaml" for name in language.all_names(base_dir() / "mappings") if "/" in name),
    *(f"lookups/{name}.csv" for name in (*v1_orders.TABLES, "channel_advisor_v1_flags")),
)
PRICES_TITLE, STOCK_TITLE = "Prices", "What is offered"


@dataclass(frozen=True)
class Column:
    """One column of a table of what changes. `kind`: text, money, number or percent; letter and record: a number or a
    key that leads to its page."""

    name: str
    kind: str = "text"


@dataclass(frozen=True)
class Part:
    """One table of what changes. `total`: how many of the `looked` of `what` differ; `weighs`: those of them that a
    person may have to confirm; `truncated`: where the comparison ended before the end, "" where it did not; `rest`:
    where to go on with it, "" where nothing is left; `more`: which of the differences are in `rows`, "" for all."""

    title: str
    what: str
    looked: int
    total: int
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    truncated: str = ""
    more: str = ""
    sums: Mapping[str, int] = field(default_factory=dict)  # figures about all that differ: they add up
    weighs: int = 0
    rest: str = ""
    there_are: int = 0  # of `what`; 0: those that were looked at
    words: str = ""
    would: str = "would change"


@dataclass(frozen=True)
class Effect:
    """All that would change. `problems`: why nothing could be compared; `words`: what there is to say besides. `draft`:
    what was compared with what is in force."""

    draft: Draft
    parts: tuple[Part, ...] = ()
    problems: tuple[Problem, ...] = ()
    words: tuple[str, ...] = ()
    seconds: float = 0.0


def of(
    connection: sa.Connection,
    person: Person,
    changed: Mapping[str, str | None],
    rest: Mapping[str, str] | None = None,
) -> Effect:
    """What would change with these texts of files. `rest`: only what an earlier look left, by the title of its part."""
    person.require(Right.SEE)
    began = time.monotonic()
    with configuration.draft(connection, changed) as draft:
        folder = settings.config_dir()
    if draft.problems:
        return Effect(draft, problems=draft.problems, words=("The draft has mistakes: nothing can be compared yet.",))
    if not draft.files:
        return Effect(draft, words=("The draft changes nothing.",))
    with unwritten(connection):
        parts = tuple(_parts(connection, person, draft.files, folder, rest))
    words = () if rest is not None else (*_unsure(connection, changed, draft.files), *_words(draft.files, parts))
    return Effect(draft, parts, words=words, seconds=round(time.monotonic() - began, 2))


def _unsure(connection: sa.Connection, changed: Mapping[str, str | None], paths: Sequence[str]) -> Iterator[str]:
    """What only the answer of a system will tell."""
    for path in paths:
        before = configuration.text(connection, path) or ""
        if words := taken.unsure(connection, path, before, changed.get(path) or ""):
            yield words


def _words(paths: Sequence[str], parts: Sequence[Part]) -> Iterator[str]:
    if named := [path for path in paths if path in WITH_THE_NEXT]:
        yield f"{', '.join(named)} is read with the next settlements: stored records do not show what it changes."
    elif named := [path for path in paths if path in OF_THE_API]:
        yield f"{', '.join(named)} is used for records of the API v1 when they are received: stored ones stay."
    elif not parts and all(path.startswith("lookups/") and not read_by(path) for path in paths):
        yield "It changes no document yet: a lookup is read once a mapping names it."
    elif not parts:
        yield "It changes no document: it says how flows run, and takes effect with their next run."


def _parts(
    connection: sa.Connection, person: Person, paths: Sequence[str], folder: Path, rest: Mapping[str, str] | None
) -> Iterator[Part]:
    for files, title, compare in ((PRICES, PRICES_TITLE, _prices), (STOCK, STOCK_TITLE, _stock)):
        if any(path in files for path in paths) and (rest is None or title in rest):
            yield compare(connection, folder, (rest or {}).get(title))
    if rest is not None:
        return
    if any(path in POSTING for path in paths):
        yield _postings(connection, folder)
    readers = list(dict.fromkeys(name for path in paths for name in _readers(path)))
    if readers:
        waiting = _letters(connection, person, readers, folder)
        if waiting.looked:
            yield waiting
        began = time.monotonic()
        for name in readers:
            if time.monotonic() - began < SECONDS:
                yield _documents(connection, person, flows.get(name), folder)
            else:
                late = "The time was up before they were compared."
                yield Part(f"{flows.get(name).title}: documents", "records", 0, 0, truncated=late)


def read_by(path: str) -> tuple[str, ...]:
    """The names of the flows whose documents, prices or quantities a file decides."""
    found = list(_readers(path))
    found += ["prices"] if path in PRICES else []
    found += ["inventory"] if path in STOCK else []
    found += [flow.name for flow in _ledgers()] if path in POSTING else []
    return tuple(dict.fromkeys(found))


def _readers(path: str) -> tuple[str, ...]:
    if path.startswith("checks/"):
        suite = path.removeprefix("checks/").removesuffix(".yaml")
        return tuple(name for name, flow in flows.all_flows().items() if flow.suite == suite)
    if path.startswith("mappings/"):
        mapping = path.removeprefix("mappings/").removesuffix(".yaml")
        return tuple(name for name, flow in flows.all_flows().items() if mapping in flow.mappings)
    return tuple(dict.fromkeys((*READERS.get(path, ()), *_naming(path))))


def _naming(path: str) -> Iterator[str]:
    """The flows with a mapping that names a lookup, one that an analyst has added too."""
    lookup = path.removeprefix("lookups/").removesuffix(".csv")
    named = [
        name
        for name in (language.names() if path.startswith("lookups/") else ())
        if any((one.lookup or "").partition(".")[0] == lookup for one in language.load(name).every_field)
    ]
    return (name for name, flow in flows.all_flows().items() if not set(named).isdisjoint(flow.mappings))


# ---- both sides ----------------------------------------------------------------------------------------------------


@contextmanager
def unwritten(connection: sa.Connection) -> Iterator[None]:
    """Takes back whatever the block writes, locks included."""
    trial = connection.begin_nested()
    try:
        yield
    finally:
        trial.rollback()


def _staged(connection: sa.Connection, flow: Flow, records: Sequence[Record]) -> Staged:
    """The records as the flow's transform stages them, with the settings in use."""
    parsed = read_documents(
        [payload for _, _, payload in records], flow.source.contract, flow.source.document, lines=flow.lines_path
    )
    keys = [key for key, _, _ in records]
    with unwritten(connection):
        return flow.transform(connection, parsed, keys, [None] * len(keys))


def _both(connection: sa.Connection, flow: Flow, records: Sequence[Record], folder: Path) -> tuple[Staged, Staged]:
    before = _staged(connection, flow, records)
    with settings.using(folder):
        return before, _staged(connection, flow, records)


def every(connection: sa.Connection, flow: Flow, after: str | None = None) -> Iterator[list[Record]]:
    """The records that a flow has worked, each in the version that is staged, by key, in portions, after a key."""
    while True:
        stage = flow.stage
        keys = sa.select(stage.c.key, stage.c.version).order_by(stage.c.key).limit(PORTION)
        page = _with_payload(connection, flow, keys if after is None else keys.where(stage.c.key > after))
        if page:
            yield page
        if len(page) < PORTION:
            return
        after = page[-1][0]


def _with_payload(connection: sa.Connection, flow: Flow, keys: sa.Select) -> list[Record]:
    stored, wanted = flow.source.raw, keys.subquery()
    rows = connection.execute(
        sa.select(stored.c.key, stored.c.version, stored.c.payload.cast(sa.Text))
        .join(wanted, sa.and_(wanted.c.key == stored.c.key, wanted.c.version == stored.c.version))
        .order_by(stored.c.key, stored.c.received_at)
    )
    found = {key: (key, version, payload.encode()) for key, version, payload in rows}
    return list(found.values())


@dataclass
class _Looking:
    """How far one comparison has come. `last`: the key that it has come to; `rest`: the same, where more follows."""

    began: float = field(default_factory=time.monotonic)
    looked: int = 0
    truncated: str = ""
    last: str = ""
    rest: str = ""

    def portions(self, pages: Iterable[list[Record]], most: int, what: str) -> Iterator[list[Record]]:
        """The pages, until there are enough or the time is up."""
        for page in pages:
            if self.looked >= most or (self.looked and time.monotonic() - self.began > SECONDS):
                self.truncated = f"Only {self.looked:,} {what} were compared; there are more."
                self.rest = self.last
                return
            self.looked += len(page)
            self.last = page[-1][0]
            yield page


# ---- prices --------------------------------------------------------------------------------------------------------


def _prices(connection: sa.Connection, folder: Path, after: str | None = None) -> Part:
    flow = flows.get("prices")
    looking = _Looking()
    rows: list[dict[str, Any]] = []
    for page in looking.portions(every(connection, flow, after), MOST_ITEMS, "items"):
        before, after_ = _both(connection, flow, page, folder)
        rows += price_changes(before, after_)
    rows.sort(key=lambda one: (-abs(one["change"] or Decimal(10**6)), one["sku"], one["site"]))
    changes = [one["change"] for one in rows if one["change"] is not None]
    sums = {}
    if rows:
        sites = sum(bool(one["site"]) for one in rows)
        sums = {"prices of products": len(rows) - sites, "prices of listings on sites": sites}
        sums |= {"raised": sum(one > 0 for one in changes), "lowered": sum(one < 0 for one in changes)}
    return Part(
        PRICES_TITLE, "items", looking.looked, len({one["sku"] for one in rows}),
        (Column("SKU"), Column("Where"), Column("Currency"), Column("Now", "money"), Column("Then", "money"),
         Column("Change", "percent"), Column("Cost", "money"), Column("Margin now", "percent"),
         Column("Margin then", "percent")),
        tuple(_price_row(one) for one in rows[:SHOWN]), looking.truncated, _more(rows, "largest"), sums,
        weighs=len({one["sku"] for one in rows}), rest=looking.rest, there_are=_worked(connection, flow),
        words=_sites_without_listings(connection, folder),
    )  # fmt: skip


def _sites_without_listings(connection: sa.Connection, folder: Path) -> str:
    """Names the sites of a draft that no item is listed on, whose rules change nothing."""
    with settings.using(folder):
        named = sorted(price_settings.load().sites)
    listing = ref_channel_listing.c
    listed = set(
        connection.scalars(
            sa.select(listing.site_id)
            .where(listing.site_id == sa.any_(sa.cast(named, sa.ARRAY(sa.Integer))), listing.status != "Ended")
            .distinct()
        )
    )
    empty = ", ".join(str(site) for site in named if site not in listed)
    return (
        f"No item has a listing on site {empty}: rules of such a site change no price until one has." if empty else ""
    )


def _worked(connection: sa.Connection, flow: Flow) -> int:
    """How many records a flow has worked, in all."""
    return connection.scalar(sa.select(sa.func.count()).select_from(flow.stage)) or 0


def price_changes(before: Staged, after: Staged) -> list[dict[str, Any]]:
    """The places of items whose price differs: amounts in their currency, change and margins in percent."""
    was, would = _by_place(before.lines), _by_place(after.lines)
    made = []
    for place in was.keys() | would.keys():
        old, new = was.get(place), would.get(place)
        then, now = _decimal(new and new["Price"]), _decimal(old and old["Price"])
        promoted = (old or {}).get("promotion_id") != (new or {}).get("promotion_id")
        if then == now and (old or {}).get("Currency") == (new or {}).get("Currency") and not promoted:
            continue
        shown = new or old or {}
        cost = _decimal(shown["cost"])
        made.append(
            {
                "sku": place[0], "site": place[1], "listing": place[2], "currency": shown["Currency"], "now": now,
                "then": then, "change": None if not now or then is None else _percent((then - now) / now),
                "cost": cost, "margin_now": _margin(now, cost), "margin_then": _margin(then, cost),
            }
        )  # fmt: skip
    return made


def _by_place(lines: pd.DataFrame) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Lines by SKU, site and listing."""
    rows = lines.astype(object).where(lines.notna(), None).to_dict("records")
    return {(row["sku"], int(row["site_id"] or 0), str(row["listing_id"] or "")): row for row in rows}


def _price_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    where = "the product" if not one["site"] else f"site {one['site']}, listing {one['listing']}"
    names = ("now", "then", "change", "cost", "margin_now", "margin_then")
    return (one["sku"], where, one["currency"] or "", *(_shown(one[name]) for name in names))


def _margin(price: Decimal | None, cost: Decimal | None) -> Decimal | None:
    """The share of a price that is not cost, in percent."""
    return None if not price or cost is None else _percent((price - cost) / price)


# ---- stock ---------------------------------------------------------------------------------------------------------


def _stock(connection: sa.Connection, folder: Path, after: str | None = None) -> Part:
    flow = flows.get("inventory")
    looking = _Looking()
    center = ref_channel_center.c
    centers = {row.center_id: row.code for row in connection.execute(sa.select(center.center_id, center.code))}
    rows: list[tuple[str, str, int | None, int | None]] = []
    for page in looking.portions(every(connection, flow, after), MOST_ITEMS, "SKUs"):
        was, would = (offered(side, centers) for side in _both(connection, flow, page, folder))
        rows += [
            (*place, was.get(place), would.get(place))
            for place in sorted(was.keys() | would.keys())
            if was.get(place) != would.get(place)
        ]
    rows.sort(key=lambda one: (-abs((one[3] or 0) - (one[2] or 0)), one[0], one[1]))
    units = sum((one[3] or 0) - (one[2] or 0) for one in rows)
    sums = {"units offered": units} if rows else {}
    return Part(
        STOCK_TITLE, "SKUs", looking.looked, len({one[0] for one in rows}),
        (Column("SKU"), Column("Where"), Column("Now", "number"), Column("Then", "number"), Column("Change", "number")),
        tuple(
            (sku, where, _shown(now), _shown(then), f"{(then or 0) - (now or 0):+,}")
            for sku, where, now, then in rows[:SHOWN]
        ),
        looking.truncated, _more(rows, "largest"), sums,
        weighs=len({one[0] for one in rows}), rest=looking.rest, there_are=_worked(connection, flow),
    )  # fmt: skip


def offered(staged: Staged, centers: Mapping[int, str]) -> dict[tuple[str, str], int]:
    """The quantities of staged SKUs: by SKU and center, or listing."""
    made: dict[tuple[str, str], int] = {}
    for row in staged.lines.to_dict("records"):
        if pd.notna(row["Quantity"]):
            center = int(row["DistributionCenterID"])
            made[str(row["SKU"]), f"center {centers.get(center, center)}"] = int(row["Quantity"])
    for row in staged.header[["key", "listings"]].to_dict("records"):
        for one in database.from_json(row["listings"]) if isinstance(row["listings"], str) else ():
            made[str(row["key"]), f"listing {one['ListingID']}"] = int(one["Quantity"])
    return made


# ---- journal entries -----------------------------------------------------------------------------------------------


def _postings(connection: sa.Connection, folder: Path) -> Part:
    looking = _Looking()
    rows: list[tuple[str, ...]] = []
    total = 0
    for flow in _ledgers():
        pages = [_of_last_month(mapping_records.last(connection, flow, PORTION))]
        for page in looking.portions(filter(None, pages), MOST_ITEMS, "documents"):
            before, after = _both(connection, flow, page, folder)
            different = entry_changes(before, after)
            total += len({one[0] for one in different})
            rows += [(flow.title, *one) for one in different]
            if len(page) == PORTION:
                looking.truncated = f"Of each kind, the last {PORTION:,} documents were compared."
    return Part(
        "Journal entries of the last month", "documents", looking.looked, total,
        (Column("Of"), Column("Document"), Column("Entry"), Column("Account"), Column("Side"),
         Column("Currency"), Column("Now", "money"), Column("Then", "money")),
        tuple(rows[:SHOWN]), looking.truncated, _more(rows), weighs=total,
        words="A wrong entry gets its exact mirror, and the right one follows; what is right stays." if rows else "",
    )  # fmt: skip


def _ledgers() -> list[Flow]:
    return [flow for name, flow in flows.all_flows().items() if flow.suite == "posting"]


def _of_last_month(records: list[Record]) -> list[Record]:
    newest = max((version for _, version, _ in records), default=None)
    return [one for one in records if newest and one[1] >= newest - MONTH]


def entry_changes(before: Staged, after: Staged) -> list[tuple[str, ...]]:
    """(document, entry, account, side, currency, amount now, then) of the lines of entries that differ."""
    was, would = _entries(before), _entries(after)
    made: list[tuple[str, ...]] = []
    for place in sorted(was.keys() | would.keys()):
        now, then = was.get(place, {}), would.get(place, {})
        for line in sorted(now.keys() | then.keys()):
            if now.get(line) != then.get(line):
                made.append((*place, *line, _shown(now.get(line)), _shown(then.get(line))))
    return made


def _entries(staged: Staged) -> dict[tuple[str, str], dict[tuple[str, str, str], Decimal]]:
    """By document and entry: amounts by account with its code, side and currency."""
    made: dict[tuple[str, str], dict[tuple[str, str, str], Decimal]] = {}
    names = ("key", "EntryKey", "Account", "AccountCode", "Debit", "Credit", "CurrencyCode")
    for key, entry, account, code, debit, credit, currency in staged.lines[list(names)].itertuples(index=False):
        side, amount = ("debit", debit) if debit else ("credit", credit)
        lines = made.setdefault((str(key), str(entry)), {})
        line = (f"{account} {code}", side, str(currency))
        lines[line] = lines.get(line, Decimal()) + (_decimal(amount) or Decimal())
    return made


# ---- documents and dead letters ------------------------------------------------------------------------------------


def _documents(connection: sa.Connection, person: Person, flow: Flow, folder: Path) -> Part:
    records = mapping_records.last(connection, flow, LAST)
    was = dry_run(connection, flow, records)
    with settings.using(folder):
        would = dry_run(connection, flow, records)
    targets = [language.load(name).target_document for name in flow.mappings]
    shown = None if person.may(Right.SEE_PERSONAL) else lambda path: personal.is_plain(targets, path)
    rows: list[tuple[str, ...]] = []
    different = weighs = 0
    for key, old in was.items():
        changes = list(differing(old, would[key], shown))
        different += bool(changes)
        weighs += bool(changes) and not (old.state == "dead" and would[key].state in ("ready", "waiting"))
        rows += [(key, *one) for one in changes]
    # Another count than that of the open letters: of the last records, delivered ones among them.
    last = f"last records of {flow.title}" if len(records) >= LAST else f"records of {flow.title}"
    return Part(
        f"{flow.title}: documents", last, len(records), different,
        (Column("Record", "record"), Column("Field"), Column("Now"), Column("Then")), tuple(rows[:SHOWN]),
        more=_more(rows), weighs=weighs, would="would come to another document, or to something else",
        words="Delivered records and open letters are both among them." if records else "",
    )  # fmt: skip


def differing(
    old: Verdict, new: Verdict, is_shown: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, str, str]]:
    """(field, now, then) where a record comes to something else. `is_shown`: whether the values of a field may be
    seen; None: all may."""
    if old.state != new.state:
        yield "what becomes of it", _fate(old), _fate(new)
    elif old.why != new.why:
        yield "why", old.why, new.why
    elif old.state == "dead" and _fate(old) != _fate(new):
        yield "why", _fate(old), _fate(new)
    was, would = _flat(old.document), _flat(new.document)
    for path in sorted(was.keys() | would.keys()):
        if was.get(path) == would.get(path):
            continue
        shown = [_text(each.get(path)) for each in (was, would)]
        if is_shown and not is_shown(path):
            shown = [personal.MASK if one else "" for one in shown]
        yield path, shown[0], shown[1]


def _fate(one: Verdict) -> str:
    words = {"ready": "sent", "waiting": "waits", "left_out": "left out", "dead": "dead letter"}.get(
        one.state, one.state
    )
    rules = sorted({in_words(str(reason["rule"])) for reason in one.reasons})
    return f"{words}: {', '.join(rules)}" if rules else words


def _letters(connection: sa.Connection, person: Person, readers: Sequence[str], folder: Path) -> Part:
    """Which open letters of these flows would pass with the draft and do not pass now."""
    numbers = list(
        connection.scalars(
            sa.select(ops_dead_letter.c.id)
            .where(ops_dead_letter.c.state.in_(letters.OPEN), ops_dead_letter.c.flow.in_(readers))
            .order_by(ops_dead_letter.c.created_at, ops_dead_letter.c.id)
            .limit(MOST_LETTERS + 1)
        )
    )
    truncated = f"The oldest {MOST_LETTERS} open letters were tried." if len(numbers) > MOST_LETTERS else ""
    numbers = numbers[:MOST_LETTERS]
    now = letters.gone(connection, person, numbers) if numbers else {}
    with settings.using(folder):
        then = letters.gone(connection, person, numbers) if numbers else {}
    passing = [number for number, passes in then.items() if passes and not now[number]]
    return Part(
        "Open dead letters that would pass", "open letters", len(numbers), len(passing),
        (Column("Letter", "letter"), Column("Flow"), Column("Record", "record"), Column("Rule"), Column("Then")),
        tuple(_letter_rows(connection, passing[:SHOWN])), truncated, _more(passing),
        would="would pass every check of ours and be sent",
    )  # fmt: skip


def _letter_rows(connection: sa.Connection, numbers: Sequence[int]) -> Iterator[tuple[str, ...]]:
    table = ops_dead_letter
    every = flows.all_flows()
    rows = connection.execute(
        sa.select(table.c.id, table.c.flow, table.c.key, table.c.rule, table.c.step)
        .where(table.c.id.in_(numbers))
        .order_by(table.c.id)
    )
    for row in rows:
        title = every[row.flow].title if row.flow in every else row.flow
        then = "would be sent otherwise than it was refused" if row.step in letters.SENT else "passes every check"
        yield str(row.id), title, row.key, in_words(row.rule or ""), then


def _more(rows: Sequence[Any], which: str = "first") -> str:
    """Which of the rows are shown, where there are too many."""
    return f"The {which} {SHOWN} of {len(rows):,} rows are shown." if len(rows) > SHOWN else ""


# ---- values --------------------------------------------------------------------------------------------------------


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """A document by the paths of its values."""
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for name, part in value.items():
            found |= _flat(part, f"{path}.{name}" if path else str(name))
        return found
    if isinstance(value, (list, tuple)):
        found = {}
        for at, part in enumerate(value):
            found |= _flat(part, f"{path}[{at + 1}]")
        return found
    return {} if value is None or not path else {path: value}


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:200]


def _decimal(scaled: Any) -> Decimal | None:
    """An amount of a frame, in its currency."""
    return None if scaled is None or scaled is pd.NA or scaled != scaled else Decimal(int(scaled)) / SCALE


def _percent(share: Decimal) -> Decimal:
    return (share * 100).quantize(Decimal("0.1"))


def _shown(value: Decimal | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}"
