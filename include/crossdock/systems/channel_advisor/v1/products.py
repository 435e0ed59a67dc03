"""The products of v1, which are known by number: their fields, quantities and prices.

In: contract documents, which name a product by its SKU. Out: one outcome for each.
Never: a write to a product that another SKU has; a second product for a SKU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote

from crossdock.errors import ConfigError, CrossdockError, OutcomeUnknown, RecordRejected, Transient
from crossdock.pool import Pool
from crossdock.systems.channel_advisor.protocol import Item, Written
from crossdock.systems.channel_advisor.v1 import batch, export, odata
from crossdock.systems.channel_advisor.v1.batch import Part
from crossdock.systems.channel_advisor.v1.client import decode
from crossdock.systems.channel_advisor.v1.odata import folded
from crossdock.systems.channel_advisor.v1.reading import Reading
from crossdock.systems.http import ended

PRICES = {"Price": "BuyItNowPrice", "MinPrice": "MinPrice", "MaxPrice": "MaxPrice", "RetailPrice": "RetailPrice"}
PLAIN = (
    "Title", "ShortDescription", "Description", "Brand", "Manufacturer", "MPN", "UPC", "EAN", "Condition", "Cost",
    "Weight", "Height", "Length", "Width", "ParentSku", "IsBlocked",
)  # fmt: skip


class Products(Reading):
    """What each call does is in `protocol.ChannelAdvisor`."""

    # Finds the ProductIDs of SKUs that are there already; those that it lacks are asked of the channel.
    product_ids: Callable[[Sequence[str]], Mapping[str, int]] | None = None

    # ---- quantities and prices -------------------------------------------------------------------------------------

    def write_quantities(self, updates: Sequence[Item]) -> list[Written]:
        """All centers of a product in one part of a batch. Where a product is refused, each center is sent alone."""
        documents = [document(one) for one in updates]
        groups: dict[tuple[str, str], list[int]] = {}
        for index, one in enumerate(documents):
            if one["UpdateType"] == "Relative":
                raise ConfigError("A relative quantity was to be sent in bulk, where a repeat would count it twice.")
            groups.setdefault((folded(one["SKU"]), one["UpdateType"]), []).append(index)
        errors = self._write_levels(documents, list(groups.values()))
        refused = [
            group for group in groups.values() if len(group) > 1 and isinstance(errors[group[0]], RecordRejected)
        ]
        errors |= self._write_levels(documents, [[index] for group in refused for index in group])
        return [_written(index, one, errors[index]) for index, one in enumerate(documents)]

    def _write_levels(
        self, documents: Sequence[dict[str, Any]], groups: Sequence[Sequence[int]]
    ) -> dict[int, CrossdockError | None]:
        """Why updates were not done, by their index; those of a group are one request."""

        def part(number: int, product: int) -> Part:
            some = [documents[index] for index in groups[number]]
            levels = [{name: one[name] for name in ("DistributionCenterID", "Quantity")} for one in some]
            value = {"UpdateType": some[0]["UpdateType"], "Updates": levels}
            return Part("POST", f"/Products({product})/UpdateQuantity", {"Value": value})

        errors = self._write_each([documents[group[0]]["SKU"] for group in groups], part)
        return {index: error for group, error in zip(groups, errors, strict=True) for index in group}

    def write_prices(self, prices: Sequence[Item]) -> list[Written]:
        """Prices are properties of the product, in the currency of its profile."""
        documents = [document(one) for one in prices]
        currency = self._currencies.get(self.profile, "") if documents else ""  # all kept profiles have the same one
        errors: dict[int, CrossdockError | None] = {}
        for index, one in enumerate(documents):
            if one["Currency"] != currency:
                message = f"The profile's prices are in {currency}, not in {one['Currency']}."
                errors[index] = self.rejected("Currency", "WrongCurrency", message)
            elif one.get("Promotion"):
                errors[index] = self.rejected("Promotion", "NoPromotions", self.can.why_not("promotions"))
        sent = [index for index in range(len(documents)) if index not in errors]

        def part(number: int, product: int) -> Part:
            one = documents[sent[number]]
            return Part("PATCH", f"/Products({product})", {PRICES[name]: one[name] for name in PRICES if name in one})

        written = self._write_each([documents[index]["SKU"] for index in sent], part)
        errors |= dict(zip(sent, written, strict=True))
        return [_written(index, one, errors[index]) for index, one in enumerate(documents)]

    def _write_each(self, skus: Sequence[str], part: Callable[[int, int], Part]) -> list[CrossdockError | None]:
        """Sends a part for each SKU; `part` makes it of position and ProductID. Gives why each was not done. A product
        that is gone is looked for once more: it may have been made anew."""
        errors: list[CrossdockError | None] = [None] * len(skus)
        ids, todo = self._ids_of(skus), list(range(len(skus)))
        for last in (False, True):
            found = [at for at in todo if folded(skus[at]) in ids]
            for at in set(todo) - set(found):
                errors[at] = self.rejected("SKU", "UnknownSku", f"There is no product {skus[at]}.", 404)
            outcomes = batch.send(self, [part(at, ids[folded(skus[at])]) for at in found], self._parts_at_once)
            todo = []
            for at, outcome in zip(found, outcomes, strict=True):
                errors[at] = outcome.error
                if outcome.status == 404:
                    todo.append(at)
            if last or not todo:
                return errors
            ids = self._ask_ids([skus[at] for at in todo])
        return errors

    @property
    def _parts_at_once(self) -> int:
        return batch.parts_of(self.connection, self.limits.requests_per_minute, self.limits.bulk_share)

    # ---- numbers ---------------------------------------------------------------------------------------------------

    def _ids_of(self, skus: Sequence[str]) -> dict[str, int]:
        """ProductIDs by folded SKU, without those of SKUs that have no product."""
        names = [self.kept.parted(sku)[1] for sku in skus]
        found = {folded(sku): number for sku, number in (self.product_ids(names) if self.product_ids else {}).items()}
        lacking = [sku for sku in skus if folded(sku) not in found]
        return found | self._ask_ids(lacking)

    def _ask_ids(self, skus: Sequence[str]) -> dict[str, int]:
        """The same, asked of the channel: by the file of all products where these are very many."""
        names = ("ID", "ProfileID", "Sku")
        if len(skus) > self.export_from:
            profiles = self.kept.kept or (self.profile,)
            rows: Iterable[Any] = chain.from_iterable(
                map(decode, export.products(self, profile, names)[1]) for profile in profiles
            )
        else:
            queries = [{"$select": ",".join(names), "$filter": where} for where in self._of_names(skus)]
            with Pool(self.limits.at_once, "products") as pool:
                rows = chain.from_iterable(list(pool.map(lambda query: self.rows("/Products", query), queries)))
        wanted = {folded(sku) for sku in skus}
        found = ((folded(self._name(row)), row["ID"]) for row in rows)
        return {sku: number for sku, number in found if sku in wanted}

    def _name(self, product: Mapping[str, Any]) -> str:
        """The name by which the flows know a product of v1."""
        return self.kept.name_of(product.get("Sku") or "", int(product.get("ProfileID") or 0))

    def _id_of(self, sku: str) -> int:
        """RecordRejected(404) where there is no such product."""
        ids = self._ids_of([sku])
        if folded(sku) not in ids:
            raise self.rejected("SKU", "UnknownSku", f"There is no product {sku}.", 404)
        return ids[folded(sku)]

    # ---- fields ----------------------------------------------------------------------------------------------------

    def create_products(self, products: Sequence[Item]) -> list[Written]:
        """One call a product, several at once; then its attributes, images and components. A SKU that is there is
        found by its refusal, and by asking where the answer was lost."""
        documents = [document(one) for one in products]
        with Pool(self.limits.at_once, "products") as pool:
            errors = list(pool.map(self._create, documents))
        return [_written(index, one, errors[index], 201) for index, one in enumerate(documents)]

    def _create(self, sent: dict[str, Any]) -> CrossdockError | None:
        """Why the product was not made; None where it was."""
        kind = sent.get("ProductType") or "Item"
        profile, sku = self.kept.parted(sent["SKU"])
        body = {"Sku": sku, "ProductType": kind, **_plain(sent)}
        if kind == "Bundle":
            body["BundleType"] = "BundleItem"
        if self.profiles:
            body["ProfileID"] = profile
        try:
            try:
                made = self.post("/Products", body)
                number = made["ID"] if made else self._id_of(sent["SKU"])
            except OutcomeUnknown as lost:
                existing = self._ask_ids([sent["SKU"]])
                if not existing:
                    return lost
                number = existing[folded(sent["SKU"])]
            except RecordRejected as refused:
                if refused.status != 400 or not self._ask_ids([sent["SKU"]]):
                    return refused
                return self.rejected("SKU", "DuplicateSku", f"There is a product {sent['SKU']} already.", 409)
            self._write_lists(number, profile, sent)
        except (RecordRejected, Transient) as error:
            return error
        return None

    def update_product(self, sku: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Several calls: its fields, then what differs of its lists, so that a repeat goes on where one has ended."""
        number, profile = self._id_of(sku), self.kept.parted(sku)[0]
        try:
            self._write_fields(number, profile, changes)
        except RecordRejected as error:
            if error.status != 404:
                raise
            number = self._ask_ids([sku]).get(folded(sku), number)  # it may have been made anew
            self._write_fields(number, profile, changes)
        found = [row for row in self.of_skus("products", [sku]) if folded(row["SKU"]) == folded(sku)]
        if not found:
            raise self.rejected("SKU", "UnknownSku", f"There is no product {sku} any more.", 404)
        return found[-1]

    def _write_fields(self, number: int, profile: int, changes: Mapping[str, Any]) -> None:
        if plain := _plain(changes):
            self.patch(f"/Products({number})", plain)
        self._write_lists(number, profile, changes)

    def _write_lists(self, number: int, profile: int, changes: Mapping[str, Any]) -> None:
        """Makes attributes, images and components those that are given; lists that are not given stay."""
        lists = [name for name in ("Attributes", "Images", "BundleComponents") if changes.get(name) is not None]
        if not lists:
            return
        product = f"/Products({number})"
        there = self.get(product, {"$select": "ID", "$expand": ",".join(lists)})
        if "Attributes" in lists:
            wanted, present = (
                _named(changes, "Attributes", "Name", "Value"),
                _named(there, "Attributes", "Name", "Value"),
            )
            new = [{"Name": name, "Value": value} for name, value in wanted.items() if present.get(name, "") != value]
            if new:
                self.post(f"{product}/UpdateAttributes", {"Value": {"Attributes": new}}, repeatable=True)
            for name in present.keys() - wanted.keys():
                self._delete(f"{product}/Attributes({_key(name)})")
        if "Images" in lists:
            wanted, present = (
                _named(changes, "Images", "PlacementName", "Url"),
                _named(there, "Images", "PlacementName", "Url"),
            )
            for place, url in wanted.items():
                if present.get(place) != url:
                    self.call("PUT", f"{product}/Images({_key(place)})", {"Url": url})
            for place in present.keys() - wanted.keys():
                self._delete(f"{product}/Images({_key(place)})")
        if "BundleComponents" in lists:
            self._write_components(product, profile, changes["BundleComponents"], there["BundleComponents"] or ())

    def _write_components(
        self, product: str, profile: int, parts: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]
    ) -> None:
        """The parts of a bundle are products of its own profile."""
        names = [self.kept.name_of(self.kept.parted(one["SKU"])[1], profile) for one in parts]
        ids = self._ids_of(names)
        wanted = {}
        for name, one in zip(names, parts, strict=True):
            if folded(name) not in ids:
                raise self.rejected("BundleComponents", "UnknownSku", f"There is no product {name}.")
            wanted[ids[folded(name)]] = one["Quantity"]
        present = {one["ComponentID"]: one["Quantity"] for one in there}
        for component, units in wanted.items():
            if component not in present:
                self.post(f"{product}/BundleComponents", {"ComponentID": component, "Quantity": units}, repeatable=True)
            elif present[component] != units:
                self.patch(f"{product}/BundleComponents({component})", {"Quantity": units})
        for component in present.keys() - wanted.keys():
            self._delete(f"{product}/BundleComponents({component})")

    def _delete(self, path: str) -> None:
        """What is gone already is deleted."""
        ended(lambda: self.call("DELETE", path))


def document(item: Item) -> dict[str, Any]:
    """A document of a batch, decoded."""
    return item if isinstance(item, dict) else decode(item)


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in PLAIN if name in document}


def _named(document: Mapping[str, Any], field: str, key: str, value: str) -> dict[str, str]:
    """A list of names and texts by name; a text that is null is empty."""
    return {one[key]: one.get(value) or "" for one in document.get(field) or ()}


def _key(name: str) -> str:
    """A name as it stands in a path."""
    return quote(odata.text(name), safe="'")


def _written(index: int, sent: Mapping[str, Any], error: CrossdockError | None, done: int = 200) -> Written:
    """The outcome of one item, with a result as the contract has it."""
    status = done if error is None else error.status if isinstance(error, RecordRejected) else 503
    keys = {name: sent[name] for name in ("SKU", "DistributionCenterID") if name in sent}
    return Written(status, {"Index": index, "Status": status, **keys}, error)
