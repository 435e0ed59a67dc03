"""Checks every configuration file before a run reads it.

In: `include/config`. Out: everything that is wrong with its files, as sentences with file and line. Never: the first
mistake alone; a flow that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from crossdock import config, flows, settings
from crossdock.errors import ConfigError
from crossdock.mapping import language, lookups
from crossdock.receiver import sources as receiver
from crossdock.rules import (
    accounts,
    catalogue,
    movements,
    offer_settings,
    posting_table,
    price_settings,
    settlements,
    shipping,
    statuses,
    tax_rules,
    tolerances,
    v1_orders,
)
from crossdock.rules import settings as site_settings
from crossdock.steps import suites
from crossdock.systems import limits, settlement_ledger, stock_files
from crossdock.systems.settlements import sources
from crossdock.systems.tims import adaptation

# Lookups that belong to no other file: what their rows are, and how many columns are the key.
TABLES: dict[str, tuple[type[config.Struct], int]] = {
    "adjustment_reasons": (movements.Reason, 2),
    v1_orders.ADJUSTMENTS: (v1_orders.AdjustmentRow, 1),
    v1_orders.STATUSES: (v1_orders.StatusRow, 4),
    "carriers": (shipping.Carrier, 2),
    "dispute_outcomes": (settlement_ledger.Outcome, 3),
    "listing_categories": (catalogue.ListingCategory, 2),
    "order_status": (statuses.StatusRow, 1),
    "payment_status": (statuses.StatusRow, 1),
    "payout_deposits": (settlement_ledger.Deposit, 2),
    "settlement_kinds": (settlements.KindRow, 4),
    v1_orders.REMITTERS: (v1_orders.RemitterRow, 2),
}
# Lookups that are read with the file that they belong to. All others translate codes in a mapping, by one key.
WITH_OTHERS = {
    "countries", "exchange_rates", "item_codes", "price_rules", "promotions", "regions", "stock_rules", "taxes",
}  # fmt: skip


def check() -> list[str]:
    """Checks all files; their findings."""
    return [str(one) for part in parts().values() for one in _found(part)]


def check_file(name: str) -> list[str]:
    """Checks one of `parts()`; its findings."""
    return [str(one) for one in _found(parts()[name])]


def parts() -> dict[str, Callable[[], Iterable[config.Finding]]]:
    """Lists the files below `include/config` with the reader of each; lookups stand with the file they belong to."""
    return {
        **{f"mappings/{name}.yaml": partial(_mapping, name) for name in language.all_names()},
        "mappings": language.idle_rules,
        **{f"checks/{name}.yaml": partial(_suite, name) for name in suites.names()},
        "flows.yaml": lambda: settings.check_flows(flows.all_flows()),
        "intake.yaml": lambda: settings.read_intake().findings,
        "console.yaml": lambda: settings.read_console().findings,
        "systems.yaml": lambda: limits.read().findings,
        receiver.FILE: _receiver,
        adaptation.FILE: lambda: adaptation.read().findings,
        "tolerances.yaml": lambda: tolerances.read().findings,
        "catalog.yaml": lambda: catalogue.read().findings,
        "payouts.yaml": lambda: sources.read().findings,
        "stock.yaml": lambda: stock_files.sources().findings,
        "sites.yaml": site_settings.check,
        "accounts.yaml": lambda: accounts.read(accounts.path_of()).findings,
        "posting.yaml": posting_table.check,
        "prices.yaml": price_settings.check,
        "stock_offers.yaml": offer_settings.check,
        "lookups/taxes.csv": tax_rules.check,
        **{f"lookups/{name}.csv": partial(_table, name, row, keys) for name, (row, keys) in TABLES.items()},
        **{
            f"lookups/{name}.csv": partial(_table, name, dict, 1)
            for name in lookups.names()
            if name not in TABLES and name not in WITH_OTHERS
        },
    }


def _table(name: str, row: type, keys: int) -> Sequence[config.Finding]:
    return config.read_csv(settings.config_dir() / "lookups" / f"{name}.csv", row, keys=keys).findings


def _receiver() -> Sequence[config.Finding]:
    """The findings of receiver.yaml; an event for a flow that does not exist is one."""
    file = receiver.read()
    found = list(file.findings)
    for name, source in (file.value.sources if file.value else {}).items():
        for event, read_by in source.events.items():
            place = ("sources", name, "events", event)
            found += [
                file.finding(place, f"there is no flow {flow!r}{config.did_you_mean(flow, flows.all_flows())}")
                for flow in read_by if flow not in flows.all_flows()
            ]  # fmt: skip
    return found


def _mapping(name: str) -> list[config.Finding]:
    return language.read(language.mappings_folder() / f"{name}.yaml").check()


def _suite(name: str) -> list[config.Finding]:
    return suites.check(suites.folder_of_checks() / f"{name}.yaml")


def _found(part: Callable[[], Iterable[config.Finding]]) -> Iterator[config.Finding | ConfigError]:
    """The findings of one part. A file that cannot be read at all has one: the error."""
    try:
        yield from part()
    except ConfigError as error:
        yield error
