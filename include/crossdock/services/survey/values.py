"""The values of real records beside the lookups and settings: what they do not know, and what may be added.

In: samples of both systems. Out: findings with proposals. Never: a value of a field that may be somebody's.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from rapidfuzz import process, utils

from crossdock import config
from crossdock.config import BESIDE
from crossdock.errors import ConfigError, CrossdockError
from crossdock.mapping import contracts, language, lookups
from crossdock.mapping.suggest import neighbours
from crossdock.mapping.table import OF_HEAD, FieldMap, Table
from crossdock.rules import accounts, items, offer_settings, shipping
from crossdock.rules import settings as rule_settings
from crossdock.rules.addresses import AddressBooks
from crossdock.rules.price_settings import ExchangeRate
from crossdock.rules.v1_orders import STATUSES
from crossdock.safe import safe
from crossdock.services.personal import is_country, is_plain
from crossdock.services.suggestions import lookup_tables
from crossdock.services.survey.findings import Finding, Proposal
from crossdock.services.survey.records import Sample
from crossdock.settings import config_dir
from crossdock.systems.tims import Tims, adaptation, contract

Samples = Mapping[str, Sample]
SURE = 0.85  # how like a known value must be for its row to be meant probably
SKUS = 500  # sold ones that are asked for in TIMS
ORDERS, CENTERS, QUANTITIES = (
    "channel_advisor.orders",
    "channel_advisor.distribution-centers",
    "tims.inventory/quantities",
)
SHIPMENTS, COMPANY, ACCOUNTS = "tims.shipments", "tims.company", "tims.gl/accounts"
# Lookups that a rule reads, so that no line of a mapping names them: their fields.
OTHER_TEXT = ""  # in the place of a country
BY_RULE = {"order_status": (ORDERS, "OrderStatus")}
FILES = "include/config"


def of(samples: Samples, tims: Tims | None) -> Iterator[Finding]:
    """What lookups and settings do not know. `tims`: who is asked for items; None where it cannot be reached."""
    yield from _lookups(samples)
    yield from _statuses(samples)
    yield from _codes(samples)
    yield from _carriers(samples)
    yield from _sites(samples)
    yield from _countries(samples)
    yield from _currencies(samples)
    yield from _tax_types(samples)
    yield from _centers(samples)
    yield from _locations(samples)
    yield from _accounts(samples)
    if tims is not None:
        yield from _skus(samples, tims)


def texts(record: Mapping[str, Any], path: str) -> Iterator[str]:
    """The values at a path of a record, of all entries of its lists, as a lookup writes them."""
    places: list[Any] = [record]
    for name in path.split("."):
        below = [place.get(name) for place in places if isinstance(place, Mapping)]
        places = [one for each in below for one in (each if isinstance(each, list) else [each])]
    for value in places:
        if value not in (None, "") and not isinstance(value, Mapping):
            yield {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def counted(records: Iterable[Mapping[str, Any]], path: str) -> Counter[str]:
    """In how many records each value of a field comes."""
    found: Counter[str] = Counter()
    for record in records:
        found.update(set(texts(record, path)))
    return found


def count(sample: Sample | None, path: str) -> Counter[str]:
    """In how many records of a sample each value of a field comes."""
    return counted(sample.records if sample else (), path)


# ---- lookups ---------------------------------------------------------------------------------------------------------


def _lookups(samples: Samples) -> Iterator[Finding]:
    tables = lookup_tables()
    for name, where in BY_RULE.items():
        if name in tables and where[0] in samples:
            yield from _missing(tables[name], where[0], where[1], count(samples[where[0]], where[1]))
    done = set()
    for name in language.all_names():
        mapping = language.load(name)
        sample = next((one for one in samples.values() if mapping.source in (_source(one), one.received_as)), None)
        if sample is None:
            continue
        received = mapping.source == sample.received_as
        document = contracts.document(*mapping.source)
        records = sample.received if received else sample.records
        for line, path in _translated(mapping):
            lookup = (line.lookup or "").partition(".")[0]
            if lookup in tables and (lookup, path) not in done and is_plain([document], path):
                done.add((lookup, path))
                default = f"as {line.default}" if line.misses == "default" else ""
                yield from _missing(tables[lookup], sample.name, path, counted(records, path), default)


def _source(sample: Sample) -> tuple[str, str]:
    return sample.resource.contract, sample.resource.document


def _translated(mapping: Table) -> Iterator[tuple[FieldMap, str]]:
    """The lines that translate a value as it comes, and the path of each value."""
    inside = f"{mapping.children.source}." if mapping.children else ""
    for prefix, fields in (("", mapping.fields), (inside, mapping.children.fields if mapping.children else ())):
        for one in fields:
            if one.lookup and not one.rule and not one.convert:
                for path in one.sources:
                    of_header = path.startswith(OF_HEAD)
                    yield one, path.removeprefix(OF_HEAD) if of_header else f"{prefix}{path}"


def _missing(
    table: lookups.Lookup, list_: str, field: str, values: Mapping[str, int], default: str = ""
) -> Iterator[Finding]:
    """`default`: how a value that the table does not know is taken; "" where it stops its record."""
    path = f"lookups/{table.name}.csv"
    for one in neighbours.missing(values, table, remarks=neighbours.REMARKS):
        nearest = one.nearest[0] if one.nearest else None
        cells = nearest.cells if nearest else (one.value, *[""] * (len(table.columns) - 1))
        like = f" Most like it: {', '.join(safe(each.key) for each in one.nearest)}." if one.nearest else ""
        yield Finding(
            f"unknown_value:{table.name}:{one.value}", "open", list_, field, one.value, one.records,
            f"{table.name}.csv does not know {safe(one.value)!r}.{like}",
            "Decide what it means and add the row; "
            + (f"it is taken {default} until then." if default else "its records are dead letters until then."),
            f"{FILES}/{path}",
            Proposal(path, _row(cells), bool(nearest and nearest.likeness >= SURE)),
        )  # fmt: skip


def _statuses(samples: Samples) -> Iterator[Finding]:
    """Combinations of states of orders of the API v1 that no row of its table fits."""
    sample = samples.get(ORDERS)
    path = f"lookups/{STATUSES}.csv"
    for states, records in sorted((sample.states if sample else Counter[tuple[str, ...]]()).items()):
        words = " / ".join(states)
        yield Finding(
            f"unknown_states:{words}", "open", ORDERS, "CheckoutStatus", words, records,
            f"{STATUSES}.csv has no row for the states {safe(words)} (checkout, payment, shipping).",
            "Say what an order of these states is; its records are dead letters until then.",
            f"{FILES}/{path}", Proposal(path, _row([*states, "*", "", ""])),
        )  # fmt: skip


def _codes(samples: Samples) -> Iterator[Finding]:
    """Codes of an adapted TIMS that tims.yaml does not turn into one of the contract."""
    for word, table in adaptation.load().codes.items():
        valid = contract.codes(word)
        for sample in samples.values():
            if sample.resource.system != "tims":
                continue
            for path in sorted(each for each in sample.document.leaves if each.rpartition(".")[2] == word):
                for value, records in sorted(count(sample, path).items()):
                    if value in valid:
                        continue
                    here = {str(own): code for code, own in table.items()}
                    nearest = process.extractOne(value, here, processor=utils.default_process, score_cutoff=60)
                    like = f" Most like it: {safe(nearest[2])} ({nearest[0]})." if nearest else ""
                    yield Finding(
                        f"unknown_code:{word}:{value}", "open", sample.name, path, value, records,
                        f"tims.yaml knows no code of {word} that is {safe(value)!r} here.{like}",
                        f"Find out what it means there, and write it below `codes: {word}:` for one of the contract's "
                        f"({', '.join(valid)}); a second word for one of them cannot be told from the first: have it "
                        "changed there.",
                        f"{FILES}/tims.yaml",
                    )  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(cells)
    return written.getvalue()


def _carriers(samples: Samples) -> Iterator[Finding]:
    """Pairs of carrier and service of TIMS's shipments."""
    sample = samples.get(SHIPMENTS)
    if sample is None or not sample.records:
        return
    header = pd.DataFrame([{name: one.get(name) for name in ("Carrier", "ServiceLevel")} for one in sample.records])
    _, problems = shipping.carriers(header, shipping.read_carriers())
    pairs = Counter(problems["value"]) if len(problems) else Counter()
    for pair, records in sorted(pairs.items()):
        carrier, service = pair.split(BESIDE)
        yield Finding(
            f"unknown_value:carriers:{carrier}/{service}", "open", SHIPMENTS, "Carrier", f"{carrier} / {service}",
            records,
            f"carriers.csv does not know the carrier {safe(carrier)!r} with the service {safe(service)!r}.",
            "Say which carrier and service class of the channel it is; its shipments are not reported until then.",
            f"{FILES}/lookups/carriers.csv", Proposal("lookups/carriers.csv", _row([carrier, service, "", ""])),
        )  # fmt: skip


# ---- what orders come with -------------------------------------------------------------------------------------------


def _sites(samples: Samples) -> Iterator[Finding]:
    orders = samples.get(ORDERS)
    named = rule_settings.load().sites
    found: Counter[tuple[int, str]] = Counter()
    for record in orders.records if orders else ():
        if isinstance(number := record.get("SiteID"), int):
            found[number, str(record.get("SiteName") or "")] += 1
    for (number, name), records in sorted(found.items()):
        if number in named:
            continue
        title = safe(name) or f"Site {number}"
        yield Finding(
            f"unknown_site:{number}", "open", ORDERS, "SiteID", str(number), records,
            f"sites.yaml does not know the site {number} {title}.",
            "Add it, with the channel's name in TIMS and the country that it sells in.",
            f"{FILES}/sites.yaml", Proposal("sites.yaml", f"  {number}:\n    channel: {_scalar(title)}\n", bool(name)),
        )  # fmt: skip


def _scalar(text: str) -> str:
    plain = all(sign.isalnum() or sign in " -&." for sign in text) and text[:1].isalpha() and text == text.strip()
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _countries(samples: Samples) -> Iterator[Finding]:
    sample = samples.get(ORDERS)
    countries = AddressBooks(rule_settings.load())
    unknown: Counter[str] = Counter()
    for record in sample.records if sample else ():
        for part in ("ShippingAddress", "BillingAddress"):
            address = record.get(part)
            if not isinstance(address, Mapping):
                continue
            country = str(address.get("Country") or "")
            if (
                country
                and not countries.several(country)
                and countries.country(country, address.get("PostalCode")) is None
            ):
                unknown[country if is_country(country) else OTHER_TEXT] += 1
    if records := unknown.pop(OTHER_TEXT, 0):
        yield Finding(
            "no_country", "open", ORDERS, "ShippingAddress.Country", "", records,
            "The country of an address is another text, which may be of the buyer and is not shown.",
            "Look at these orders in the channel and correct them there; they are dead letters until then.",
        )  # fmt: skip
    for country, records in sorted(unknown.items()):
        yield Finding(
            f"unknown_value:countries:{country}", "open", ORDERS, "ShippingAddress.Country", country, records,
            f"{safe(country)!r} is no country that countries.csv or ISO 3166 has.",
            "Say which country it is.", f"{FILES}/lookups/countries.csv",
            Proposal("lookups/countries.csv", _row([country, "", ""])),
        )  # fmt: skip


def _currencies(samples: Samples) -> Iterator[Finding]:
    company = next(iter(samples[COMPANY].records), {}) if COMPANY in samples else {}
    base = str(company.get("BaseCurrency") or "")
    if not base:
        return
    rated = {row.currency for row in _rates()}
    for currency, records in sorted(count(samples.get(ORDERS), "Currency").items()):
        if currency not in (base, *rated):
            yield Finding(
                f"no_rate:{currency}", "open", ORDERS, "Currency", currency, records,
                f"exchange_rates.csv has no rate of {safe(currency)}; the books are in {base}.",
                "Give its rate with the first day on which it holds; payments in it are dead letters until then.",
                f"{FILES}/lookups/exchange_rates.csv",
                Proposal("lookups/exchange_rates.csv", _row([currency, "", "", ""])),
            )  # fmt: skip


def _rates() -> Iterable[ExchangeRate]:
    return config.load_csv(config_dir() / "lookups" / "exchange_rates.csv", ExchangeRate, keys=2).rows.values()


def _tax_types(samples: Samples) -> Iterator[Finding]:
    """Which tax types the orders of each site have: what a person compares with the books."""
    sample = samples.get(ORDERS)
    by_site: dict[str, Counter[str]] = {}
    for record in sample.records if sample else ():
        site = f"{record.get('SiteID')} {record.get('SiteName') or ''}".strip()
        by_site.setdefault(site, Counter())[str(record.get("OrderTaxType") or "none given")] += 1
    for site, types in sorted(by_site.items()):
        listing = ", ".join(f"{safe(name)} {number}" for name, number in types.most_common())
        yield Finding(
            f"tax_types:{site}", "note", ORDERS, "OrderTaxType", "", types.total(),
            f"Site {safe(site)}: {listing}. Where no tax is given, lookups/taxes.csv decides.",
        )  # fmt: skip


def _skus(samples: Samples, tims: Tims) -> Iterator[Finding]:
    """SKUs that were sold and are neither an item of TIMS nor a code of item_codes.csv."""
    sold = count(samples.get(ORDERS), "OrderItems.SKU")
    codes = items.Codes(rule_settings.load())
    asked_for = [sku for sku, _ in sold.most_common(SKUS) if codes.listed(sku) is None]
    try:
        rows = tims.find("inventory/items", SKU=asked_for) if asked_for else []
    except CrossdockError:
        return
    there = {str(sku).casefold() for row in rows for sku in (row.get("SKU"), *(row.get("AlternateSKUs") or ()))}
    for sku in asked_for:
        if sku.casefold() not in there:
            yield Finding(
                f"unknown_sku:{sku}", "open", ORDERS, "OrderItems.SKU", sku, sold[sku],
                f"{safe(sku)} was sold and is no item of TIMS.",
                "Set it up in TIMS, as an item or an AlternateSKU of one; or say in item_codes.csv what the code is.",
                f"{FILES}/lookups/item_codes.csv", Proposal("lookups/item_codes.csv", _row([sku, "", "", ""])),
            )  # fmt: skip


# ---- places and accounts ---------------------------------------------------------------------------------------------


def _centers(samples: Samples) -> Iterator[Finding]:
    """Distribution centers of the channel beside stock_offers.yaml."""
    sample = samples.get(CENTERS)
    if sample is None or not sample.records:
        return
    alive = {str(one.get("Code")): one for one in sample.records if not one.get("IsDeleted")}
    offered = offer_settings.load().locations
    for location, code in sorted(offered.items()):
        if code not in alive:
            yield Finding(
                f"unknown_center:{code}", "open", CENTERS, "Code", code, 0,
                f"stock_offers.yaml offers TIMS's {safe(location)} in the center {safe(code)}; "
                "the channel has none of that code.",
                f"Name one that it has: {', '.join(sorted(map(safe, alive)))}.", f"{FILES}/stock_offers.yaml",
            )  # fmt: skip
    for code, one in sorted(alive.items()):
        if code not in offered.values() and not one.get("IsExternallyManaged"):
            yield Finding(
                f"unfed_center:{code}", "open", CENTERS, "Code", code, 1,
                f"The channel's center {safe(code)} gets its quantities from no location of TIMS.",
                "Name the location under `locations`, or decide that somebody else keeps this center.",
                f"{FILES}/stock_offers.yaml",
            )  # fmt: skip


def _locations(samples: Samples) -> Iterator[Finding]:
    """Locations of TIMS that hold stock, beside stock_offers.yaml."""
    offered = offer_settings.load().locations
    for location, records in sorted(count(samples.get(QUANTITIES), "Locations.LocationID").items()):
        if location not in offered:
            yield Finding(
                f"unoffered_location:{location}", "open", QUANTITIES, "Locations.LocationID", location, records,
                f"stock_offers.yaml does not name TIMS's location {safe(location)}: its stock is offered nowhere.",
                "Name the center in which it is offered, or decide that it is not for sale.",
                f"{FILES}/stock_offers.yaml", Proposal("stock_offers.yaml", f"  {location}: \n"),
            )  # fmt: skip


def _accounts(samples: Samples) -> Iterator[Finding]:
    """Codes of accounts.yaml that TIMS's chart does not have."""
    sample = samples.get(ACCOUNTS)
    if sample is None or not sample.records:
        return
    chart = {str(one.get("AccountCode")) for one in sample.records}
    try:
        given = accounts.load()
    except ConfigError:
        return
    for name, account in given.named.items():
        for code in sorted(set(account.codes.values()) - chart):
            yield Finding(
                f"unknown_account:{code}", "open", ACCOUNTS, "AccountCode", code, 0,
                f"TIMS's chart of accounts lacks {code} ({name}, line {account.line}).",
                "Correct the code, or have the account set up in TIMS.", f"{FILES}/accounts.yaml",
            )  # fmt: skip
