"""Prices by SKU, and the promotions that they carry.

In: batches of prices. Out: prices and promotions as the contract has them. Never: a price outside its own bounds, a
promotion whose Status lags behind the clock.

A promotion consists of its prices: its SKUs, the earliest start, the latest end; the server keeps these per SKU beside
it. A promotion without prices keeps its last dates. Status follows the clock: before promotions are read it is brought
up to date, with the moment of each step as UpdatedDate, so that no reader's watermark passes a step that it has not
seen.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.channel_advisor import account, batches, lists, named, repository
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import Refused, amounts, field_error, utc
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Request
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

MONEY = ("Price", "MinPrice", "MaxPrice", "RetailPrice")
Dates = list[str]  # first moment, end


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listPrices": partial(list_prices, system),
        "updatePrices": partial(update_prices, system),
        "listPromotions": partial(list_promotions, system),
    }


# ---- operations ----
def list_prices(system: System, request: Request) -> Answer:
    return lists.page(system, request, "price", lists.by_sku(request))


def update_prices(system: System, request: Request) -> Answer:
    owner, at = named.profile(request), system.clock.now()
    with system.store.write() as tx:
        carried = Carried(tx, owner, at)
        answer = batches.answer(
            system, request, "Prices", "PriceUpdate", named.sku, partial(update, tx, owner, at, carried)
        )
        carried.write()
    return answer


def list_promotions(system: System, request: Request) -> Answer:
    with system.store.read() as tx:
        late = bool(_late(tx, request.now))
    if late:
        with system.store.write() as tx:
            catch_up(tx, request.now)
    return lists.page(system, request, "promotion", {"profile": lists.profiles(request)})


def update(tx: Transaction, owner: int, at: int, carried: Carried, sent: Document) -> tuple[int, Document]:
    """Write one price. Refused."""
    product = named.product(tx, owner, sent["SKU"])
    put(tx, product, validated(repository.price(tx, owner, product.doc["SKU"]), sent, owner), at, carried)
    return 200, {"SKU": product.doc["SKU"]}


def put(tx: Transaction, product: Row, price: Document, at: int, carried: Carried) -> None:
    """Store a price, and the change on the product's row; nothing when it is stored already."""
    owner, sku = product.doc["ProfileID"], product.doc["SKU"]
    row = tx.get("price", repository.sku_id(owner, sku))
    before = row.doc if row else {}
    price = {"ProfileID": owner} | price | {"SKU": sku}
    if row is not None:
        if price | {"UpdatedDate": before["UpdatedDate"]} == before:
            return
        at = max(at, row.modified + 1)
    repository.put_price(tx, price, at)
    repository.put_product(tx, product.doc, max(at, product.modified + 1), product)
    if price["Promotion"] != before.get("Promotion"):
        carried.move(sku, before.get("Promotion"), price["Promotion"])


# ---- rules ----
def validated(before: Document | None, sent: Document, owner: int) -> Document:
    """The price after a write. Refused with what breaks a rule of the contract."""
    money, errors = amounts(sent, MONEY)
    after = dict.fromkeys((*MONEY, "Promotion")) | (before or {}) | sent | money
    after.pop("UpdatedDate", None)
    if sent["Currency"] != account.CURRENCIES[owner]:
        message = f"The profile's currency is {account.CURRENCIES[owner]}."
        errors.append(field_error("Currency", "WrongCurrency", message))
    if sent.get("Promotion"):
        after["Promotion"], wrong = _promotional(sent["Promotion"])
        errors += wrong
    if errors:
        raise Refused(errors)
    if errors := _outside(after):
        raise Refused(errors)
    return after


def _promotional(sent: Document) -> tuple[Document, list[dict[str, str]]]:
    money, errors = amounts(sent, ("Price",), "Promotion.")
    dates = {}
    for name in ("StartDate", "EndDate"):
        try:
            dates[name] = utc(sent[name])
        except ValueError as error:
            errors.append(field_error(f"Promotion.{name}", "InvalidValue", str(error)))
    if not errors and clock.parse(dates["EndDate"]) <= clock.parse(dates["StartDate"]):
        errors.append(field_error("Promotion.EndDate", "EndNotAfterStart", "EndDate must be after StartDate."))
    return sent | money | dates, errors


def _outside(price: Document) -> list[dict[str, str]]:
    """Where a price is outside its bounds."""
    amount, least, most, promotion = (price[name] for name in ("Price", "MinPrice", "MaxPrice", "Promotion"))
    errors = []
    if least is not None and amount < least:
        errors.append(field_error("Price", "BelowMinPrice", f"{amount} is below MinPrice {least}."))
    if most is not None and amount > most:
        errors.append(field_error("Price", "AboveMaxPrice", f"{amount} is above MaxPrice {most}."))
    if promotion and promotion["Price"] >= amount:
        message = f"{promotion['Price']} is not below Price {amount}."
        errors.append(field_error("Promotion.Price", "NotBelowPrice", message))
    if promotion and least is not None and promotion["Price"] < least:
        message = f"{promotion['Price']} is below MinPrice {least}."
        errors.append(field_error("Promotion.Price", "BelowMinPrice", message))
    return errors


# ---- promotions ----
class Carried:
    """The promotions that a batch of prices changes: each is written once, at its end."""

    def __init__(self, tx: Transaction, owner: int, at: int) -> None:
        self._tx, self._owner, self._at = tx, owner, at
        self._dates: dict[str, dict[str, Dates]] = {}

    def move(self, sku: str, before: Document | None, after: Document | None) -> None:
        """Moves a price's SKU from one promotion to another."""
        if before:
            self._of(before["PromotionID"]).pop(sku, None)
        if after:
            self._of(after["PromotionID"])[sku] = [after["StartDate"], after["EndDate"]]

    def _of(self, promotion: str) -> dict[str, Dates]:
        if promotion not in self._dates:
            row = repository.promotion(self._tx, self._owner, promotion)
            self._dates[promotion] = row.extra.get("Prices", {}) if row else {}
        return self._dates[promotion]

    def write(self) -> None:
        for promotion, dates in self._dates.items():
            put_promotion(self._tx, self._owner, promotion, {}, dates, self._at)


def put_promotion(
    tx: Transaction, owner: int, promotion: str, sent: Document, dates: dict[str, Dates], at: int
) -> None:
    """Stores a promotion as its prices have it (`dates` by SKU), and its other fields; nothing when it is stored so
    already."""
    row = repository.promotion(tx, owner, promotion)
    before = row.doc if row else {"ProfileID": owner, "PromotionID": promotion, "Name": None}
    after = before | sent | {"SKUs": sorted(dates)}
    if dates:
        after["StartDate"] = min({start for start, _ in dates.values()}, key=clock.parse)
        after["EndDate"] = max({end for _, end in dates.values()}, key=clock.parse)
    after["Status"] = status(after, at)
    kept = {"Prices": dates}
    if row is None or after != before:
        repository.put_promotion(tx, after, kept, at if row is None else max(at, row.modified + 1))
    elif kept != row.extra:
        repository.put_promotion(tx, after, kept, row.modified)


def dates_of(tx: Transaction, owner: int, promotion: str) -> dict[str, Dates]:
    """First moment and end by SKU, of the prices that carry a promotion."""
    row = repository.promotion(tx, owner, promotion)
    return row.extra.get("Prices", {}) if row else {}


def status(promotion: Document, now: int) -> str:
    if now < clock.parse(promotion["StartDate"]):
        return "Scheduled"
    return "Active" if now < clock.parse(promotion["EndDate"]) else "Ended"


def _late(tx: Transaction, now: int) -> list[Row]:
    rows = [*tx.found("promotion", "status", "Scheduled"), *tx.found("promotion", "status", "Active")]
    return [row for row in rows if row.doc["Status"] != status(row.doc, now)]


def catch_up(tx: Transaction, now: int) -> None:
    """Updates the Status of all promotions by the clock."""
    for row in _late(tx, now):
        after = row.doc | {"Status": status(row.doc, now)}
        step = clock.parse(row.doc["StartDate" if after["Status"] == "Active" else "EndDate"])
        repository.put_promotion(tx, after, row.extra, max(step, row.modified + 1))


def forget(tx: Transaction, owner: int, sku: str, at: int) -> None:
    """Delete the price of a product."""
    price = repository.price(tx, owner, sku)
    if price:
        carried = Carried(tx, owner, at)
        carried.move(sku, price["Promotion"], None)
        carried.write()
        tx.delete("price", repository.sku_id(owner, sku))


def changed(before: Document | None, sent: Document, owner: int) -> dict[str, Any]:
    """The price as staff or a marketplace's repricer make it: no bound holds them."""
    neutral = dict.fromkeys((*MONEY, "Promotion")) | {"Currency": account.CURRENCIES[owner]}
    after = neutral | (before or {}) | sent
    after.pop("UpdatedDate", None)
    return after
