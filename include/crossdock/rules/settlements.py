"""Reads settlements: the kinds of their lines, whether they are whole and follow each other, and what they pay.

In: frames of settlements and of booked ones; frames of their amounts by order, and of open invoices and credit memos.
Out: kinds, findings, payments. Never: a row loop over lines; a plug: what does not match stays open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crossdock import config
from crossdock.config import Struct, Text, did_you_mean
from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, written
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.registry import KEY, Columns, rule
from crossdock.rules import currencies
from crossdock.rules.accounts import Accounts
from crossdock.rules.dates import company_days, posting_dates
from crossdock.rules.tolerances import Settlements
from crossdock.settings import config_dir

SALES = ("principal", "shipping", "gift_wrap", "tax", "promotion", "shipping_promotion", "marketplace_tax")
REFUNDS = tuple(f"refund_{kind}" for kind in SALES)
ORDERS_OWN = (*SALES, *REFUNDS)  # an order's own money: paid to its invoices and credit memos
OTHERS = (
    "commission", "refund_commission", "fulfilment", "advertising", "storage", "subscription", "fee_tax",
    "reserve_held", "reserve_released", "reimbursement", "chargeback", "chargeback_won", "chargeback_fee",
    "carried_forward", "charge",
)  # fmt: skip
UNKNOWN = "unknown"
LEFT_OUT = "order_left_out"  # an order's own money, of an order that a rule keeps out of TIMS

# ---- kinds of lines ------------------------------------------------------------------------------------------------


class KindRow(Struct, frozen=True, kw_only=True):
    """One row of settlement_kinds.csv."""

    format: Text
    transaction_type: str = ""
    amount_type: str = ""
    amount_description: str = ""
    kind: Text
    note: str = ""

    def problems(self) -> Iterator[tuple[str, str]]:
        valid = (*ORDERS_OWN, *OTHERS)
        if self.kind not in valid:
            hint = did_you_mean(self.kind, valid) or f"; use one of {', '.join(valid)}"
            yield "kind", f"there is no kind {self.kind!r}{hint}"


@dataclass(frozen=True)
class _Row:
    pattern: tuple[str, ...]  # format and the three words, in lower case
    kind: str

    def takes(self, words: tuple[str, ...]) -> bool:
        return all(fnmatchcase(word, part) for word, part in zip(words, self.pattern, strict=True))


def kinds(formats: pd.Series, lines: pd.DataFrame, folder: Path | None = None) -> pd.Series:
    """The kind of each line by config/lookups/settlement_kinds.csv; `unknown` where no row fits. Each distinct
    combination of words is looked up once."""
    rows = _rows(folder)
    exact = {row.pattern: row.kind for row in reversed(rows)}
    words = pd.DataFrame(
        {
            "format": formats.array,
            **{name: lines[name].fillna("").array for name in ("TransactionType", "AmountType", "AmountDescription")},
        }
    )
    codes, distinct = pd.factorize(pd.MultiIndex.from_frame(words))
    found = []
    for combination in distinct:
        lower = tuple(str(word).strip().lower() for word in combination)
        found.append(exact.get(lower) or next((row.kind for row in rows if row.takes(lower)), UNKNOWN))
    return pd.Series(pd.array(found, dtype="str").take(codes), index=lines.index, dtype="str")


def understood(combinations: Collection[tuple[str, str, str, str]]) -> set[tuple[str, str, str, str]]:
    """Those of some combinations (a format and the three words) that a row of the lookup takes."""
    rows = _rows(None)
    lower = {one: tuple(word.strip().lower() for word in one) for one in combinations}
    return {one for one, words in lower.items() if any(row.takes(words) for row in rows)}


def _rows(folder: Path | None) -> list[_Row]:
    table = config.load_csv((folder or config_dir() / "lookups") / "settlement_kinds.csv", KindRow, keys=4)
    return [
        _Row(tuple(one.lower() for one in (row.format, row.transaction_type, row.amount_type, row.amount_description)),
             row.kind)
        for row in table.rows.values()
    ]  # fmt: skip


# ---- whether a settlement can be booked ----------------------------------------------------------------------------


def judge(settlements: pd.DataFrame, booked: pd.DataFrame) -> pd.DataFrame:
    """Finds what prevents the booking of each of a few settlements.

    Both frames: `source`, `group` ("" where the file has none), `settlement_id`, `file`, `start`, `end` (RFC 3339 or
    missing), `content_hash`; settlements also `difference` (total less lines) and `joined` (its periods must follow
    each other). Those of one source and group are judged in the order of their periods: one that cannot be booked
    leaves a gap before the next.

    Returns, aligned to `settlements`: `seen`, `gap`, `overlap`, `no_period` (0 or 1), and `seen_as`, `gap_as`,
    `overlap_as`: the finding in words.
    """
    existing: dict[tuple[str, str], list[tuple[str, str, str, str]]] = {}
    for one in booked.fillna("").to_dict("records"):
        existing.setdefault((one["source"], one["group"]), []).append(
            (one["start"], one["end"], one["settlement_id"], one["file"])
        )
    held = {(one["source"], one["settlement_id"]): one for one in booked.fillna("").to_dict("records")}
    result = pd.DataFrame(
        {
            **{name: np.zeros(len(settlements), dtype=np.int64) for name in ("seen", "gap", "overlap", "no_period")},
            **{name: pd.Series([""] * len(settlements), dtype="str") for name in ("seen_as", "gap_as", "overlap_as")},
        }
    )
    ordered = (
        settlements.fillna({"group": "", "start": "", "end": ""}).reset_index(drop=True).sort_values(["start", "file"])
    )
    for at, row in zip(ordered.index, ordered.to_dict("records"), strict=True):
        key = (row["source"], row["settlement_id"])
        before = held.get(key)
        if before:
            same = before["content_hash"] == row["content_hash"]
            if same and before["file"] == row["file"]:
                continue  # this very settlement, worked once more
            result.loc[at, ["seen", "seen_as"]] = (1, _seen(row, before, same=same))
            continue
        chain = (row["source"], row["group"])
        neighbours = [one for one in existing.get(chain, []) if one[0]]
        if row["joined"]:
            dated = bool(row["start"] and row["end"])
            result.loc[at, "no_period"] = int(not dated)
            gap, overlap = _between(row["start"], row["end"], neighbours) if dated else ("", "")
            result.loc[at, ["gap", "gap_as"]] = (int(bool(gap)), gap)
            result.loc[at, ["overlap", "overlap_as"]] = (int(bool(overlap)), overlap)
        if row["difference"] == 0 and not result.loc[at, ["gap", "overlap", "no_period"]].any():
            held[key] = row
            existing.setdefault(chain, []).append((row["start"], row["end"], row["settlement_id"], row["file"]))
    return result


def _seen(row: dict, before: dict, *, same: bool) -> str:
    how = "with the same content" if same else "with other content"
    return f"{row['settlement_id']} from {before['file']}, {how}"


def _between(start: str, end: str, neighbours: list[tuple[str, str, str, str]]) -> tuple[str, str]:
    """(gap, overlap) between a period and its two neighbours, in words; "" where there is none. RFC 3339 moments of one
    precision sort as text."""
    before = max((one for one in neighbours if one[0] <= start), default=None)
    after = min((one for one in neighbours if one[0] > start), default=None)
    if before and before[1] > start:
        return "", f"{before[2]} lasts until {before[1]}, this one starts at {start}"
    if after and after[0] < end:
        return "", f"{after[2]} starts at {after[0]}, this one lasts until {end}"
    if before and before[1] < start:
        return f"{before[2]} ends at {before[1]}, this one starts at {start}", ""
    if after and after[0] > end:
        return f"this one ends at {end}, {after[2]} starts at {after[0]}", ""
    return "", ""


# ---- what a settlement pays ----------------------------------------------------------------------------------------

_EVERY_SUBSET = 10  # up to so many open documents of an order, all combinations are tried
_ADVICE = (
    "Compare the order with the marketplace. Edit OrderRef, or name in ApplyTo the documents that are paid and the "
    "amount of each (together what was settled), then replay it. Dismiss it if it is settled by hand."
)


_OTHER_SITE = (
    "If the site or the source has the wrong channel, correct config/sites.yaml or config/payouts.yaml. If the account "
    "settles several sites in one file, name in ApplyTo the documents that are paid and the amount of each (together "
    "what was settled), then replay it. Dismiss it if it is settled by hand."
)


@dataclass
class Matched:
    """`header`, aligned to the orders: `state` (staged, waiting, left_out), `reason`, `sales_order_id`, and as Int64
    `Amount` (sum of what is applied), `refund_rounding` (what returns gave back beyond the credit memos in it) and
    `rounding` (Amount less the settled amount, less refund_rounding). `applications`: `_row`, `position`, `InvoiceID`,
    `CreditMemoID`, `Amount`. What cannot be matched is staged with a problem."""

    header: pd.DataFrame
    applications: pd.DataFrame
    problems: pd.DataFrame


@dataclass(frozen=True)
class PaymentContext:
    """The context of the payment rules: what they need beside columns. `found`: what TIMS has of each order, by key;
    `documents`: their open invoices and credit memos (both as `match` takes them); `rates`: the lookup
    exchange_rates."""

    found: pd.DataFrame
    documents: pd.DataFrame
    tolerance: Settlements
    zone: str
    base_currency: str
    periods: pd.DataFrame
    accounts: Accounts
    rates: Lookup


@rule(
    "match_settlement",
    reads=[
        KEY, "OrderRef", "Channel", "CurrencyCode", "SaleAmount", "RefundAmount", "SaleLines", "RefundLines",
        "lines.Document", "lines.Amount",
    ],
    writes=[
        "state", "reason", "sales_order_id", "Amount", "refund_rounding", "rounding", "made.InvoiceID",
        "made.CreditMemoID", "made.Amount",
    ],
)  # fmt: skip
def match_settlement(frames: Frames, context: PaymentContext) -> Columns:
    """Matches the settled amount of an order with its open invoices, and the refunded one with its open credit memos:
    exactly, or with a difference within config/tolerances.yaml. What does not match is left to a person, with the
    candidates. It waits while its order, invoice or credit memo is not in TIMS yet, and is left out where the
    settlement has no money of the order's own."""
    found = context.found.loc[frames.header[KEY]].reset_index(drop=True)
    matched = match(frames.header, frames.lines, found, context.documents, context.tolerance)
    applied = matched.applications.sort_values([ROW, "position"]).reset_index(drop=True)
    applied["position"] = applied.groupby(ROW).cumcount()
    lines = applied.rename(columns={"position": LINE}).astype({"Amount": "Int64"})
    return Columns(matched.header, made=lines, problems=matched.problems)


def match(
    orders: pd.DataFrame, chosen: pd.DataFrame, found: pd.DataFrame, documents: pd.DataFrame, tolerance: Settlements
) -> Matched:
    """Matches each order's part of a settlement with the documents that it pays.

    Parts of one order are matched in the order of the frame; each takes from the balances what it pays.
    `orders`: SettlementOrders of our contract. `chosen`: `_row`, `Document`, `Amount`: where a person has decided.
    `found`, aligned: `sales_order_id` (missing: not in TIMS), `expected` (the channel has the order, TIMS not yet;
    `why` gives its state), `elsewhere` (the order of that number on another channel), `several`, `open_units` (not
    invoiced yet), `near` (order numbers like it). `documents`: `kind` (invoice, credit_memo), `id`, `sales_order_id`,
    `currency`, `balance`, `beyond` (what its return gave back besides), oldest first. Returns Matched.
    """
    sale, refund = (orders[name].to_numpy(dtype=np.int64) for name in ("SaleAmount", "RefundAmount"))
    settled = sale + refund
    balance = documents["balance"].to_numpy(dtype=np.int64).copy()
    state = np.full(len(orders), "staged", dtype=object)
    reason = np.full(len(orders), None, dtype=object)
    reported: list[pd.DataFrame] = []
    applied: list[pd.DataFrame] = []

    decided = np.zeros(len(orders), dtype=bool)
    decided[chosen["_row"].to_numpy()] = True
    nothing = ~decided & (orders["SaleLines"] + orders["RefundLines"] == 0).to_numpy()
    nothing |= ~decided & (sale == 0) & (refund == 0)
    state[nothing], reason[nothing] = "left_out", "nothing of the order's own money is left over"

    existing = found["sales_order_id"].notna().to_numpy(dtype=bool)
    later = ~existing & found["expected"].to_numpy(dtype=bool) & ~decided & ~nothing
    state[later], reason[later] = "waiting", found["why"].to_numpy(dtype=object)[later]
    lost = ~existing & ~later & ~decided & ~nothing
    reported.append(_unknown_orders(orders, found, np.flatnonzero(lost)))

    for row in np.flatnonzero(decided):
        parts, problem = _as_decided(orders, int(row), int(settled[row]), chosen, documents, balance)
        applied.append(parts)
        reported.append(problem)
    left = np.flatnonzero(existing & ~decided & ~nothing)
    rank = (
        pd.Series(found["sales_order_id"].to_numpy()[left]).groupby(found["sales_order_id"].to_numpy()[left]).cumcount()
    )
    for turn in range(int(rank.max()) + 1 if len(rank) else 0):
        rows = left[(rank == turn).to_numpy()]
        outcome = _turn(orders, found, rows, documents, balance, tolerance)
        applied.append(outcome.applications)
        reported.append(outcome.problems)
        waits = outcome.header["reason"].notna().to_numpy(dtype=bool)
        state[rows[waits]] = "waiting"
        reason[rows[waits]] = outcome.header.loc[waits, "reason"].to_numpy()

    applications = pd.concat(applied, ignore_index=True) if applied else _no_applications()
    total = np.zeros(len(orders), dtype=np.int64)
    beyond = np.zeros(len(orders), dtype=np.int64)
    for sums, name in ((total, "Amount"), (beyond, "beyond")):
        np.add.at(sums, applications["_row"].to_numpy(dtype=np.int64), applications[name].to_numpy(dtype=np.int64))
    troubles = problems.concat(reported)
    whole = (state == "staged") & ~np.isin(np.arange(len(orders)), troubles["_row"].to_numpy())
    header = pd.DataFrame(
        {
            "state": pd.Series(state, dtype="str"),
            "reason": pd.Series(reason, dtype="str"),
            "sales_order_id": found["sales_order_id"].reset_index(drop=True),
            "Amount": pd.Series(total, dtype="Int64").where(whole),
            "refund_rounding": pd.Series(beyond, dtype="Int64").where(whole),
            "rounding": pd.Series(total - beyond - settled, dtype="Int64").where(whole),
        }
    )
    return Matched(header, applications.drop(columns="beyond"), troubles)


def _turn(
    orders: pd.DataFrame,
    found: pd.DataFrame,
    rows: np.ndarray,
    documents: pd.DataFrame,
    balance: np.ndarray,
    tolerance: Settlements,
) -> Matched:
    """Matches one part of each of several orders. Subtracts payments from `balance`; the head has `reason` where it
    waits."""
    order = pd.Series(np.arange(len(rows)), index=pd.Index(found["sales_order_id"].to_numpy()[rows]))
    of_document = order.reindex(documents["sales_order_id"]).fillna(-1).to_numpy(dtype=np.int64)
    currency = orders["CurrencyCode"].to_numpy(dtype=object)[rows]
    same = documents["currency"].to_numpy(dtype=object) == np.where(of_document >= 0, currency[of_document], "")
    usable = (of_document >= 0) & same & (balance > 0)
    invoice = documents["kind"].eq("invoice").to_numpy(dtype=bool)
    wanted = {
        "invoice": orders["SaleAmount"].to_numpy(dtype=np.int64)[rows],
        "credit_memo": -orders["RefundAmount"].to_numpy(dtype=np.int64)[rows],
    }
    lines = {"invoice": "SaleLines", "credit_memo": "RefundLines"}
    beyond = documents["beyond"].to_numpy(dtype=np.int64)
    unit = currencies.units(orders["CurrencyCode"].iloc[rows]) * CENT
    most_of_order = tolerance.an_order * unit
    picked = np.zeros(len(documents), dtype=bool)
    off = np.zeros(len(rows), dtype=np.int64)
    fits, has_open = {}, {}
    for kind, own in (("invoice", usable & invoice), ("credit_memo", usable & ~invoice)):
        at = np.flatnonzero(own)
        most = np.minimum(orders[lines[kind]].to_numpy(dtype=np.int64)[rows] * tolerance.a_line * unit, most_of_order)
        chosen, difference, fit = pick(wanted[kind], most, of_document[at], balance[at] + beyond[at])
        picked[at] = chosen
        off += np.abs(difference)
        fits[kind] = fit
        has_open[kind] = np.bincount(of_document[at], minlength=len(rows)) > 0
    fits["invoice"] &= off <= most_of_order
    open_units = found["open_units"].to_numpy(dtype=np.int64)[rows] > 0
    waits = np.full(len(rows), None, dtype=object)
    waits[~fits["credit_memo"] & ~has_open["credit_memo"] & (wanted["credit_memo"] > 0)] = (
        "its credit memo is not in TIMS yet"
    )
    waits[~fits["invoice"] & open_units & (wanted["invoice"] > 0)] = "its invoice is not in TIMS yet"
    good = fits["invoice"] & fits["credit_memo"]
    taken = np.flatnonzero(picked & good[of_document])
    applications = pd.DataFrame(
        {
            "_row": rows[of_document[taken]],
            "position": taken,
            "InvoiceID": documents["id"].where(invoice).iloc[taken].array,
            "CreditMemoID": documents["id"].where(~invoice).iloc[taken].array,
            "Amount": np.where(invoice[taken], balance[taken], -balance[taken]),
            "beyond": beyond[taken],
        }
    )
    odd = np.flatnonzero(~good & pd.isna(waits))
    reported = [
        _mismatch(
            orders,
            int(rows[n]),
            str(order.index[n]),
            documents[of_document == n],
            balance[of_document == n],
            {kind for kind, fit in fits.items() if fit[n]},
        )
        for n in odd
    ]
    balance[taken] = 0
    return Matched(pd.DataFrame({"reason": waits}), applications, problems.concat(reported))


def pick(
    wanted: np.ndarray, tolerance: np.ndarray, row: np.ndarray, balance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picks for each amount the documents that add up to it: exactly where possible, else the nearest within its
    tolerance; among equally good ones the fewest and oldest.

    `row`: the amount that each document may belong to, `balance`: its open amount, oldest first. Returns (chosen:
    bool per document, difference: chosen less wanted, fits: bool per amount). An amount of 0 takes nothing and fits.
    """
    chosen = np.zeros(len(row), dtype=bool)
    difference = np.zeros(len(wanted), dtype=np.int64)
    fits = wanted == 0
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=len(wanted)) if len(row) else np.zeros(len(wanted), dtype=np.int64)
    starts = np.cumsum(counts) - counts
    for count in np.unique(counts[(counts > 0) & ~fits]):
        mine = np.flatnonzero((counts == count) & ~fits)
        at = order[starts[mine][:, None] + np.arange(count)]
        sets = _subsets(int(count))
        away = balance[at] @ sets.T - wanted[mine][:, None]
        best = np.abs(away).argmin(axis=1)  # the first of equal ones: `sets` begins with the fewest and oldest
        rest = away[np.arange(len(mine)), best]
        good = np.abs(rest) <= tolerance[mine]
        chosen[at[good]] = sets[best[good]].astype(bool)
        difference[mine[good]] = rest[good]
        fits[mine] = good
    return chosen, difference, fits


@cache
def _subsets(count: int) -> np.ndarray:
    """The combinations of `count` documents to try, each a row of 0 and 1: all of them; for many documents, each one
    alone and the oldest 2, 3, and so on."""
    if count <= _EVERY_SUBSET:
        numbers = np.arange(1, 2**count)
        sets = (numbers[:, None] >> np.arange(count)) & 1
    else:
        sets = np.vstack([np.eye(count, dtype=np.int64), np.tril(np.ones((count, count), dtype=np.int64))[1:]])
    fewest_and_oldest = np.lexsort((*(-sets[:, ::-1].T), sets.sum(axis=1)))
    return sets[fewest_and_oldest].astype(np.int64)


def _no_applications() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "_row": pd.Series(dtype="int64"), "position": pd.Series(dtype="int64"),
            "InvoiceID": pd.Series(dtype="str"), "CreditMemoID": pd.Series(dtype="str"),
            "Amount": pd.Series(dtype="int64"), "beyond": pd.Series(dtype="int64"),
        }
    )  # fmt: skip


# ---- when, at which rate, on which account -------------------------------------------------------------------------


@rule(
    "payment_terms",
    reads=["DepositDate", "CurrencyCode", "Channel"],
    writes=["PaymentDate", "PostingDate", "ExchangeRate", "BankAccountCode", "original_date"],
)
def payment_terms(frames: Frames, context: PaymentContext) -> Columns:
    """The payment has the company's day of the deposit; where its period is closed, it is posted on the first open day.
    The account is the channel's clearing account. A payment in a foreign currency has the rate of its day by
    config/lookups/exchange_rates.csv."""
    columns, found = terms(
        frames.header, context.zone, context.base_currency, context.periods, context.accounts, context.rates
    )
    return Columns(columns, problems=found)


def terms(
    orders: pd.DataFrame, zone: str, base_currency: str, periods: pd.DataFrame, accounts: Accounts, rates: Lookup
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """When, at which rate and on which account each order's part is paid. Returns (columns, with
    `original_date` where it is posted later; problems)."""
    days = company_days(orders["DepositDate"], zone)
    posted, original = posting_dates(days, periods)
    foreign = orders["CurrencyCode"].ne(base_currency)
    columns = pd.DataFrame(
        {
            "PaymentDate": days,
            "PostingDate": posted,
            "ExchangeRate": _rates(orders["CurrencyCode"].where(foreign), days, rates),
            "BankAccountCode": accounts.codes(
                pd.Series("Clearing", index=orders.index), orders["Channel"], orders["CurrencyCode"]
            ),
            "original_date": original,
        }
    )
    no_rate = np.flatnonzero(foreign & columns["ExchangeRate"].isna())
    no_day = np.flatnonzero(posted.isna())
    reported = [
        problems.make(
            no_rate,
            field="CurrencyCode",
            rule="no_exchange_rate",
            value=orders["CurrencyCode"].iloc[no_rate],
            message=[f"No rate of {{value}} is known for {day}." for day in days.iloc[no_rate]],
            do="Add it to config/lookups/exchange_rates.csv, then replay this.",
        ),
        problems.make(
            no_day,
            field="DepositDate",
            rule="period_closed",
            value=days.iloc[no_day],
            message="The period of {value} is closed in TIMS, and no later one is open.",
            do="Have a period opened in TIMS, then replay this.",
        ),
    ]
    return columns, problems.concat(reported)


def _rates(currencies: pd.Series, days: pd.Series, table: Lookup) -> pd.Series:
    """The rate of each currency on each day: the last row that has begun by then; missing without one."""
    since: dict[str, list[tuple[str, str]]] = {}
    for row in table.rows.values():
        since.setdefault(row["currency"], []).append((row["from"], row["rate"]))
    codes, distinct = pd.factorize(pd.MultiIndex.from_arrays([currencies, days]))
    found = [
        max((entry for entry in since.get(currency, []) if entry[0] <= day), default=("", None))[1]
        for currency, day in distinct
    ]
    return pd.Series(pd.array(found, dtype="str").take(codes, allow_fill=True), index=currencies.index, dtype="str")


# ---- messages for a person -----------------------------------------------------------------------------------------


def _unknown_orders(orders: pd.DataFrame, found: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    refs = orders["OrderRef"].to_numpy(dtype=object)[rows]
    several = found["several"].to_numpy(dtype=bool)[rows]
    near, elsewhere = (found[name].to_numpy(dtype=object)[rows] for name in ("near", "elsewhere"))
    reported = [
        problems.make(
            [row],
            field="OrderRef",
            rule="order_ambiguous" if twice else "order_of_another_site" if other else "unknown_order",
            value="" if pd.isna(ref) else ref,
            message=_lost(orders, int(row), ref, bool(twice), other, like),
            do=_OTHER_SITE if other and not twice else _ADVICE,
        )
        for row, ref, twice, other, like in zip(rows, refs, several, elsewhere, near, strict=True)
    ]
    return problems.concat(reported)


def _lost(orders: pd.DataFrame, row: int, ref: Any, twice: bool, elsewhere: str, like: Any) -> str:
    if pd.isna(ref):
        return f"{_money(orders, row)} of a sale or refund names no order."
    if twice:
        return f"Several orders in TIMS have the number {ref}."
    if elsewhere:
        return f"{ref} is in TIMS, but as {elsewhere}; the settlement is of {orders['Channel'].iloc[row]}" + (
            f" ({_money(orders, row)})."
        )
    hint = f" Like it: {like}." if isinstance(like, str) and like else ""
    return f"No order of {orders['Channel'].iloc[row]} has the number {ref} ({_money(orders, row)}).{hint}"


def _money(orders: pd.DataFrame, row: int) -> str:
    parts = [
        f"{what} {written(int(orders[name].iloc[row]))}"
        for what, name in (("sold", "SaleAmount"), ("refunded", "RefundAmount"))
        if orders[name].iloc[row]
    ]
    return f"{', '.join(parts) or '0.00'} {orders['CurrencyCode'].iloc[row]}"


def _mismatch(
    orders: pd.DataFrame, row: int, order: str, documents: pd.DataFrame, balance: np.ndarray, fitting: set[str]
) -> pd.DataFrame:
    """The problem of an amount that matches nothing, with all documents that it could pay."""
    currency = orders["CurrencyCode"].iloc[row]
    other = sorted(set(documents.loc[documents["currency"] != currency, "currency"]))
    if len(documents) and other and not (documents["currency"] == currency).any():
        return problems.make(
            [row], field="CurrencyCode", rule="currency_mismatch", value=currency,
            message=f"{order} is invoiced in {', '.join(other)}, but settled in {currency}.", do=_ADVICE,
        )  # fmt: skip
    reported = []
    for kind, words, name, verb in (
        ("invoice", "invoices", "SaleAmount", "settled"),
        ("credit_memo", "credit memos", "RefundAmount", "refunded"),
    ):
        if kind in fitting:
            continue
        own = (documents["kind"] == kind).to_numpy() & (balance > 0) & (documents["currency"] == currency).to_numpy()
        amount = abs(int(orders[name].iloc[row]))
        names = ", ".join(
            f"{one} ({written(int(rest))})" for one, rest in zip(documents["id"][own], balance[own], strict=True)
        )
        away = int(balance[own].sum() + documents["beyond"].to_numpy(dtype=np.int64)[own].sum()) - amount
        open_ones = (
            f"its open {words} are {names}, {written(abs(away))} {'more' if away > 0 else 'less'} than that"
            if names
            else f"it has no open {words}"
        )
        reported.append(
            problems.make(
                [row],
                field=name,
                rule="amount_differs" if names else "nothing_open",
                value=written(int(orders[name].iloc[row])),
                message=f"{written(amount)} {currency} was {verb} for {order}, but {open_ones}.",
                do=_ADVICE,
            )
        )
    return problems.concat(reported)


def _as_decided(
    orders: pd.DataFrame, row: int, settled: int, chosen: pd.DataFrame, documents: pd.DataFrame, balance: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Applies a person's decision if it is possible: the documents have enough open, and add up to the settled
    amount."""
    mine = chosen[chosen["_row"] == row]
    place = {name: at for at, name in enumerate(documents["id"])}
    wrong, parts = [], []
    for name, amount in zip(mine["Document"], mine["Amount"].to_numpy(dtype=np.int64), strict=True):
        at = place.get(name)
        if at is None:
            wrong.append(f"TIMS has no open document {name}")
            continue
        invoice = documents["kind"].iloc[at] == "invoice"
        if documents["currency"].iloc[at] != orders["CurrencyCode"].iloc[row]:
            wrong.append(f"{name} is in {documents['currency'].iloc[at]}")
        elif not 0 < (amount if invoice else -amount) <= balance[at]:
            wrong.append(f"of {name} {written(int(balance[at]))} is open, not {written(int(amount))}")
        beyond = int(documents["beyond"].iloc[at]) if abs(amount) == balance[at] else 0
        parts.append((row, at, name if invoice else None, None if invoice else name, int(amount), beyond))
    wrong += [f"{name} is named twice" for name in sorted(set(mine.loc[mine["Document"].duplicated(), "Document"]))]
    total = int(mine["Amount"].sum()) - sum(part[-1] for part in parts)
    if total != settled:
        wrong.append(f"the parts add up to {written(total)}, but {written(settled)} was settled")
    if wrong:
        message = f"ApplyTo cannot be done: {'; '.join(wrong)}."
        return _no_applications(), problems.make(
            [row], field="ApplyTo", rule="apply_to_wrong", value=written(total), message=message, do=_ADVICE
        )
    for _, at, _, _, amount, _ in parts:
        balance[at] -= abs(amount)
    made = pd.DataFrame(parts, columns=["_row", "position", "InvoiceID", "CreditMemoID", "Amount", "beyond"])
    return made.astype({"InvoiceID": "str", "CreditMemoID": "str"}), problems.empty()
