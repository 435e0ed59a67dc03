"""What each file below `include/config` holds, for whoever shows it as a form or a grid.

In: a file's path such as `lookups/carriers.csv`. Out: its `Schema`. Never: a schema besides the one that a run reads
the file with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossdock import settings
from crossdock.receiver import sources as receiver
from crossdock.rules import accounts, catalogue, offer_settings, posting_table, price_settings, tax_rules, tolerances
from crossdock.rules import settings as site_settings
from crossdock.steps import suites
from crossdock.systems import limits, stock_files
from crossdock.systems.settlements import sources
from crossdock.systems.tims import adaptation
from crossdock.watch.configuration import TABLES


@dataclass(frozen=True)
class Schema:
    """The type of a file, or of a row of it. `keys`: how many columns of a table are its key."""

    kind: Any
    keys: int = 0


_FORMS: dict[str, tuple[Any, int]] = {
    **{f"lookups/{name}.csv": given for name, given in TABLES.items()},
    **accounts.FORMS,
    **offer_settings.FORMS,
    **posting_table.FORMS,
    **price_settings.FORMS,
    **site_settings.FORMS,
    **tax_rules.FORMS,
    catalogue.FILE: (catalogue.Catalog, 0),
    "console.yaml": (settings.Console, 0),
    "flows.yaml": (dict[str, settings.FlowSettings], 0),
    "intake.yaml": (settings.Intake, 0),
    sources.FILE: (sources.Payouts, 0),
    stock_files.FILE: (stock_files.Sources, 0),
    "systems.yaml": (limits.Systems, 0),
    receiver.FILE: (receiver.Settings, 0),
    adaptation.FILE: (adaptation.Adaptation, 0),
    "tolerances.yaml": (tolerances.Tolerances, 0),
}


def of(path: str) -> Schema | None:
    """The schema of a file; None where only its text can be shown. A lookup that only mappings read has columns of its
    own, the first of which is its key."""
    if path in _FORMS:
        return Schema(*_FORMS[path])
    if path.startswith("checks/"):
        return Schema(suites.FORM)
    if path.startswith("lookups/"):
        return Schema(dict, 1)
    return None
