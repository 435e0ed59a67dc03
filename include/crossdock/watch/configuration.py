"""Every configuration file, looked at before a run does.

In: `include/config`. Out: everything that is wrong with its files, as sentences with file and line. Never: the first
mistake alone; a flow that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from crossdock import config, flows, settings
from crossdock.errors import ConfigError
from crossdock.mapping import language
from crossdock.rules import catalogue, offer_settings, posting_table, price_settings, tax_rules, tolerances
from crossdock.rules import settings as site_settings
from crossdock.steps import suites
from crossdock.systems import limits, stock_files
from crossdock.systems.settlements import sources

OTHERS = ("reference",)  # has settings in flows.yaml, and is no flow of its own


def check() -> list[str]:
    """All findings of all files."""
    return [str(one) for part in _parts() for one in _found(part)]


def _parts() -> Iterator[Callable[[], Iterable[config.Finding]]]:
    for name in language.names():
        yield lambda name=name: language.read(language.mappings_folder() / f"{name}.yaml").check()  # type: ignore[misc]
    for name in suites.names():
        yield lambda name=name: suites.check(suites.folder_of_checks() / f"{name}.yaml")  # type: ignore[misc]
    yield lambda: settings.check_flows([*flows.all_flows(), *OTHERS])
    for read in (settings.read_intake, limits.read, tolerances.read, catalogue.read, sources.read, stock_files.sources):
        yield lambda read=read: read().findings  # type: ignore[misc]
    for part in (site_settings, posting_table, price_settings, offer_settings, tax_rules):
        yield part.check


def _found(part: Callable[[], Iterable[config.Finding]]) -> Iterator[config.Finding | ConfigError]:
    """The findings of one part; of a file that cannot be read at all, the one error."""
    try:
        yield from part()
    except ConfigError as error:
        yield error
