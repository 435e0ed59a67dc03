"""`python -m benchmarks [--data FILE] [--quick] [--peers PYTHON]`: measures everything and prints one table.

Rounds are interleaved: ours, the floor, ours, the floor. A ratio compares medians of the same run, for the machine is
never the same twice.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import data, scheduler, stock
from benchmarks.place import Place, place
from crossdock.errors import CrossdockError
from sandbox.transactions import BadData

ROUNDS, QUICK_ROUNDS = 3, 1
QUICK_SKUS = 20_000
PEERS = {"nested": "dlt, default (nested tables)", "json": "dlt, tuned (json column)",
         "arrow": "dlt, tuned, pages split by hand into Arrow"}  # fmt: skip
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


@dataclass
class Measured:
    """Every number of every round, by name."""

    facts: dict[str, Any]
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, result: dict[str, Any]) -> None:
        for key, value in result.items():
            self.values[f"{name}.{key}"].append(float(value))

    def __getitem__(self, name: str) -> float:
        return statistics.median(self.values[name])

    def __contains__(self, name: str) -> bool:
        return name in self.values


def measure(here: Place, found: Measured, rounds: int, *, in_airflow: bool) -> None:
    """All of the orders flow, in an order in which each part leaves the database that the next one copies."""
    _prepare(here, found)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: extract")
        here.migrated("fresh")
        found.add("extract", here.ours("extract", "fresh", "all"))
        for what in ("extract", "again"):
            here.empty("fresh")
            found.add("bare", here.bare(what, "fresh", "all"))
        if here.peers and number == rounds // 2:
            for how in PEERS:
                say(f"round {number + 1} of {rounds}: dlt, {how}")
                here.empty("fresh")
                found.add(how, here.peer(how, "fresh"))
        say(f"round {number + 1} of {rounds}: transform and check")
        here.copy("extracted", "fresh")
        found.add("stage", here.ours("stage", "fresh", "none"))
        found.add("floor", here.bare("floor", "", "all", str(here.pages)))
        for words in ("all", "all.slow"):
            say(f"round {number + 1} of {rounds}: load{', 20 ms an answer' if 'slow' in words else ''}")
            here.copy("ready", "fresh")
            found.add(f"load {words}", here.ours("load", "fresh", words))
            found.add(f"bare {words}", here.bare("load", "", words, str(here.kept)))
        say(f"round {number + 1} of {rounds}: a tick, and nothing new")
        here.copy("loaded", "fresh")
        here.requests()
        found.add("tick", here.ours("tick", "fresh", "tick"))
        here.requests()
        found.add("nothing", here.ours("nothing", "fresh", "nothing"))
        found.add("nothing", {"requests": sum(here.requests().values())})
    here.drop("fresh")
    if in_airflow:
        say("a tick inside Airflow")
        found.add("airflow", scheduler.tick(here.scratch / "run", data.TICK))


def _prepare(here: Place, found: Measured) -> None:
    """The databases that are copied: all orders extracted, ready, loaded; and on the way the memory of a whole run."""
    say("2,000 orders from extract to load, for their memory")
    here.migrated("fresh")
    found.add("some", here.ours("whole", "fresh", "some.masters"))
    say("all orders from extract to load, for their memory and for the bulks")
    here.migrated("loaded")
    found.add("whole", here.ours("whole", "loaded", "all.masters.keep"))
    here.finish("loaded")
    say("all orders extracted; then ready")
    here.migrated("extracted")
    here.ours("extract", "extracted", "all.masters")
    here.copy("extracted", "ready")
    here.ours("stage", "ready", "none")


def measure_stock(here: Place, found: Measured, skus: int) -> None:
    """The inventory flow over a catalogue and over a tenth of it: what a run costs that finds some changes, and a full
    compare that finds some levels wrong."""
    for size in (skus // 10, skus):
        say(f"inventory: {size:,} SKUs for the first time")
        here.migrated("stocked")
        keep = ".keep" if size == skus else ""
        found.add(f"first {size}", here.ours("stock-first", "stocked", f"stock{size}{keep}"))
        here.age("stocked")
        for what, word in (("changed", "changed"), ("compare", "drift")):
            say(f"inventory: {size:,} SKUs, {stock.CHANGED} of them {word}")
            here.copy("stocked", "fresh")
            here.requests()
            found.add(f"{what} {size}", here.ours(f"stock-{what}", "fresh", f"stock{size}.{word}"))
            found.add(f"{what} {size}", {"requests": sum(here.requests().values())})
    found.add("bare quantities", here.bare("quantities", "", f"stock{skus}", str(here.kept)))
    found.facts["skus"] = skus
    for name in ("stocked", "fresh"):
        here.drop(name)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# ---- the table -----------------------------------------------------------------------------------------------------


def table(found: Measured) -> Table:
    """One row a comparison; a ratio is how many times as fast ours is."""
    grid = Table(title="Crossdock beside plain clients and peers", title_justify="left")
    for name, justify in (("", "left"), ("ours", "right"), ("beside it", "left"), ("", "right"), ("ratio", "right"),
                          ("aim", "left")):  # fmt: skip
        grid.add_column(name, justify=justify)

    def row(name: str, ours: str, other: str = "", theirs: str = "", ratio: str = "", aim: str = "") -> None:
        grid.add_row(name, ours, other, theirs, ratio, aim)

    def speeds(name: str, unit: str, count: float, ours: float, others: list[tuple[str, float, str]]) -> None:
        for number, (other, theirs, aim) in enumerate(others):
            row("" if number else name, "" if number else f"{count / ours:,.0f} {unit}", other,
                f"{count / theirs:,.0f} {unit}", f"{theirs / ours:.2f}", aim)  # fmt: skip

    if "extract.first" in found:
        _order_rows(found, row, speeds)
    if "skus" in found.facts:
        _stock_rows(found, row, speeds)
    return grid


def _stock_rows(found: Measured, row: Any, speeds: Any) -> None:
    """The inventory flow. What it costs to find 500 changes must not grow with the catalogue; memory neither."""
    skus, tenth = found.facts["skus"], found.facts["skus"] // 10
    first, bare = found[f"first {skus}.load"], found["bare quantities.load"]
    speeds("write quantities", "SKUs/s", skus, first, [("bare client, same batches", bare, "")])
    row(f"{skus:,} SKUs for the first time", f"{found[f'first {skus}.seconds']:.0f} s",
        f"{tenth:,}", f"{found[f'first {tenth}.seconds']:.0f} s")  # fmt: skip
    some, every = found[f"changed {tenth}.seconds"], found[f"changed {skus}.seconds"]
    row(f"{stock.CHANGED} of {skus:,} SKUs changed", f"{every:.1f} s", f"of {tenth:,}", f"{some:.1f} s",
        f"{some / every:.2f}", mark(some / every >= 0.67, "≥ 0.67"))  # fmt: skip
    asked = found[f"changed {skus}.requests"], found[f"changed {tenth}.requests"]
    row("  requests", f"{asked[0]:.0f}", "", f"{asked[1]:.0f}", "", mark(asked[0] == asked[1], "the same"))
    row(f"full compare of {skus:,} SKUs", f"{found[f'compare {skus}.seconds']:.0f} s",
        "all of them for the first time", f"{found[f'first {skus}.seconds']:.0f} s",
        f"{found[f'first {skus}.seconds'] / found[f'compare {skus}.seconds']:.2f}")  # fmt: skip
    small, large = found[f"compare {tenth}.megabytes"], found[f"compare {skus}.megabytes"]
    row("  peak memory", f"{large:,.0f} MB", f"of {tenth:,} SKUs", f"{small:,.0f} MB", f"{large / small:.2f}",
        mark(large / small <= 1.3 and large < 600, "≤ 1.30, < 600 MB"))  # fmt: skip


def _order_rows(found: Measured, row: Any, speeds: Any) -> None:
    facts = found.facts
    orders, lines = facts["orders"], facts["lines"]
    peers = [how for how in PEERS if f"{how}.first" in found]
    first, again = found["extract.first"], found["extract.again"]
    speeds("extract and stage", "orders/s", orders, first,
           [("bare client", found["bare.first"], mark(found["bare.first"] / first >= 0.7, "≥ 0.70")),
            *((PEERS[how], found[f"{how}.first"], "") for how in peers)])  # fmt: skip
    row("the same pages again", f"{orders / again:,.0f} orders/s", "our first read", f"{orders / first:,.0f} orders/s",
        f"{first / again:.2f}", mark(first / again >= 5, "≥ 5.00"))  # fmt: skip
    speeds("", "orders/s", orders, again,
           [("bare client, comparing hashes", found["bare.again"], ""),
            *((PEERS[how], found[f"{how}.again"], "") for how in peers)])  # fmt: skip
    stage = found["stage.transform"] + found["stage.check"]
    speeds("raw to checked stage", "lines/s", lines, stage,
           [("pyarrow and numpy, no Postgres", found["floor.seconds"],
             mark(lines / stage >= 100_000, "≥ 100,000 lines/s"))])  # fmt: skip
    for words, name in (("all", "load"), ("all.slow", "load, 20 ms an answer")):
        ours, bare = found[f"load {words}.load"], found[f"bare {words}.load"]
        speeds(name, "orders/s", orders, ours, [("bare client, same bulks", bare, mark(bare / ours >= 0.7, "≥ 0.70"))])
    row(f"a tick of {data.TICK} orders", f"{found['tick.seconds']:.2f} s", "imports, once a process",
        f"{found['tick.imports']:.2f} s")  # fmt: skip
    if "airflow.seconds" in found:
        seconds = found["airflow.seconds"]
        row("the same inside Airflow", f"{seconds:.1f} s", "the run to its end", f"{found['airflow.run']:.1f} s", "",
            mark(seconds <= 8, "≤ 8 s"))  # fmt: skip
    some, every = found["some.megabytes"], found["whole.megabytes"]
    row("peak memory, all orders", f"{every:,.0f} MB", "2,000 orders", f"{some:,.0f} MB", f"{every / some:.2f}",
        mark(every / some <= 1.3 and every < 600, "≤ 1.30, < 600 MB"))  # fmt: skip
    row("a run that finds nothing new", f"{found['nothing.requests']:.0f} requests", "resources", "3", "",
        mark(found["nothing.requests"] == 3 and not found["nothing.work"], "one a resource"))  # fmt: skip


def mark(met: bool, aim: str) -> str:
    return f"{aim} [green]met[/green]" if met else f"{aim} [red]missed[/red]"


def caption(found: Measured, source: Path | None, rounds: int) -> str:
    facts = found.facts
    origin = str(source.name) if source else (
        f"the shipped January, its orders {facts['repetitions']} times over under new numbers"
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{facts['orders']:,} orders, {facts['lines']:,} lines, {facts['bytes'] / 1e6:.0f} MB: {origin}.\n"
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}; "
        f"medians of {rounds} interleaved rounds in fresh processes, dlt in one of them; imports not counted."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--data", type=Path, help="a file of Online Retail; absent: the shipped January, repeated")
    parser.add_argument("--quick", action="store_true", help="one round, no peers, no Airflow")
    parser.add_argument("--only", choices=("orders", "stock"), help="one part of it")
    parser.add_argument("--peers", type=Path, help="Python of the environment that dlt is installed in")
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    try:
        say("making the pages (kept in the run folder)")
        pages = data.prepare(options.data)
        with place(pages, None if options.quick else options.peers) as here:
            found = Measured(data.facts(pages))
            if options.only != "stock":
                measure(here, found, rounds, in_airflow=not options.quick)
            if options.only != "orders":
                measure_stock(here, found, QUICK_SKUS if options.quick else stock.SKUS)
    except (CrossdockError, BadData) as error:
        print(error, file=sys.stderr)
        return 1
    out.print(table(found))
    out.print(caption(found, options.data, rounds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
