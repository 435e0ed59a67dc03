"""Two roots of settings in one process: in turns, nested, in threads, and in the threads that the library starts."""

from __future__ import annotations

import ast
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossdock import flows, settings
from crossdock.ledger import controls
from crossdock.mapping import language, lookups
from crossdock.pool import Pool
from crossdock.rules import (
    accounts,
    catalogue,
    offer_settings,
    posting_table,
    price_settings,
    tax_rules,
    tolerances,
)
from crossdock.rules import settings as site_settings
from crossdock.settings import PROJECT
from crossdock.steps import suites
from crossdock.systems import limits, stock_files
from crossdock.systems.settlements import sources
from crossdock.watch import configuration

SHIPPED = PROJECT / "include" / "config"
# Per file: what another root writes in it (pattern, text in its place), and what is read of it through the caches.
DIFFERENT: dict[str, tuple[str, str, Callable[[], Any]]] = {
    "intake.yaml": (r"key_bytes: \d+", "key_bytes: 77", lambda: settings.intake().key_bytes),
    "flows.yaml": (r"stale_minutes: \d+", "stale_minutes: 77", lambda: settings.flow("orders").stale_minutes),
    "systems.yaml": (r"at_once: \d+", "at_once: 77", lambda: limits.load("channel_advisor").at_once),
    "tolerances.yaml": (r"a_unit: \d+", "a_unit: 77", lambda: tolerances.load().refunds.a_unit),
    "catalog.yaml": (r"profile_currency: \w+", "profile_currency: SEK", lambda: catalogue.load().profile_currency),
    "accounts.yaml": (r"Bank: 1000", "Bank: 1007", lambda: str(accounts.load().named)),
    "posting.yaml": (
        r"marketplace_tax: memo\b", "marketplace_tax: wash",
        lambda: posting_table.load(accounts.load()).options["marketplace_tax"],
    ),
    "prices.yaml": (r"(?m)^  margin: .*$", "  margin: 77", lambda: price_settings.load().default),
    "sites.yaml": (r"shared_above: \d+", "shared_above: 77", lambda: site_settings.load().shared_above),
    "stock_offers.yaml": (r"margin_seconds: \d+", "margin_seconds: 77", lambda: offer_settings.load().margin),
    "stock.yaml": (r"amazon_fr:", "elsewhere:", lambda: str(stock_files.sources().value)),
    "payouts.yaml": (r"amazon_fr:", "elsewhere:", lambda: str(sources.read().value)),
    "mappings/sales_order.yaml": (
        r"(?m)^mapping: .*$", "mapping: Of another root", lambda: language.load("sales_order").title,
    ),
    "checks/sales_order.yaml": (r"(?m)^suite: .*$", "suite: Of another root", lambda: suites.load("sales_order").title),
    "lookups/carriers.csv": (
        r"\Z", "Of another root,Drone,Drone,Air\n", lambda: str(lookups.read("carriers", keys=2).rows),
    ),
    "lookups/taxes.csv": (r"\Z", "1,NO,Hats,2011-01-04,25,\n", lambda: tax_rules.load()),
    "controls/suspense.sql": (r"\A-- ", "-- Of another root: ", lambda: str(controls.queries())),
}  # fmt: skip


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another root, each of whose files differs."""
    made = shutil.copytree(SHIPPED, tmp_path_factory.mktemp("root") / "config")
    for name, (pattern, text, _) in DIFFERENT.items():
        path = made / name
        before = path.read_text("utf-8")
        after = re.sub(pattern, lambda _, text=text: text, before, count=0 if name == "flows.yaml" else 1)
        assert after != before, name
        path.write_text(after, "utf-8")
    return made


@pytest.fixture(autouse=True)
def _shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(SHIPPED))


def everything() -> dict[str, Any]:
    return {name: read() for name, (_, _, read) in DIFFERENT.items()}


def test_two_roots_in_turns_each_give_their_own_settings(other: Path):
    shipped = everything()
    for _ in range(2):
        with settings.using(other):
            assert settings.config_dir() == other
            theirs = everything()
        assert {name for name in DIFFERENT if theirs[name] == shipped[name]} == set()
        assert everything() == shipped
        with settings.using(SHIPPED):
            assert everything() == shipped


def test_the_inner_of_two_roots_holds_until_its_block_ends(other: Path):
    with settings.using(other, version=4):
        with settings.using(SHIPPED):
            assert settings.root() == settings.Root(SHIPPED, None)
        assert settings.root() == settings.Root(other, 4)
    assert settings.root() is None


def test_threads_of_a_server_each_have_their_root(other: Path):
    """Two threads that read in turns, and never at the other's root."""
    shipped, found = everything(), {}
    turns = threading.Barrier(2, timeout=60)

    def work(folder: Path) -> None:
        with settings.using(folder):
            seen = []
            for _ in range(3):
                turns.wait()
                seen.append(everything())
            found[folder] = seen

    threads = [threading.Thread(target=work, args=(folder,)) for folder in (SHIPPED, other)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found[SHIPPED] == [shipped] * 3
    assert found[other][0] == found[other][2]
    assert found[other][0] != shipped


def test_threads_that_the_library_starts_read_the_root_of_who_started_them(other: Path):
    with Pool(2, "test") as pool:
        with settings.using(other):
            inside = [pool.submit(settings.config_dir) for _ in range(8)]
            mapped = list(pool.map(lambda _: settings.config_dir(), range(8)))
        outside = [pool.submit(settings.config_dir) for _ in range(8)]
        assert {one.result() for one in inside} == {other} == set(mapped)
        assert {one.result() for one in outside} == {SHIPPED}


def test_a_whole_tree_is_checked_where_it_is_used(other: Path, tmp_path: Path):
    broken = shutil.copytree(SHIPPED, tmp_path / "config")
    (broken / "lookups" / "carriers.csv").write_text("wrong,header\n")
    assert configuration.check() == []
    with settings.using(broken):
        assert any(str(broken / "lookups" / "carriers.csv") in one for one in configuration.check())
    assert configuration.check() == []


def test_who_may_do_what_is_never_read_of_another_root(tmp_path: Path):
    made = shutil.copytree(SHIPPED, tmp_path / "config")
    (made / "console.yaml").write_text("roles: {Viewer: [analyst]}\n")
    with settings.using(made):
        assert settings.console().roles["Viewer"] == ("viewer",)


def test_no_thread_is_started_past_the_pool_that_carries_the_root():
    library = PROJECT / "include" / "crossdock"
    users = {
        str(path.relative_to(library)) for path in library.rglob("*.py") if "ThreadPoolExecutor" in path.read_text()
    }
    assert users == {"pool.py"}


def _cached_without_arguments() -> Iterator[str]:
    for path in (PROJECT / "include" / "crossdock").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and not ast.unparse(node.args):
                yield from (f"{path.stem}.{node.name}" for one in node.decorator_list if "cache" in ast.unparse(one))


def test_what_is_kept_for_the_whole_process_depends_on_no_root():
    """A cached function without arguments gives every root the same. Each of these reads what comes with the code."""
    assert flows.all_flows()
    assert set(_cached_without_arguments()) == {
        "runtime.spare_memory",
        "worth._others",
        "addresses._iso_countries",
        "addresses._own_names",
        "problems._nothing",
        "registry._import_all",
        "columns.registered",
        *(f"contract.{name}" for name in (
            "operations", "documents", "parameters", "error_codes", "_by_path", "_lists",
        )),
    }  # fmt: skip
