"""`python -m benchmarks [--data FILE] [--quick] [--peers PYTHON]`: measures everything and prints one table.

Rounds are interleaved: ours, the floor, ours, the floor. A ratio compares medians of the same run, for the machine is
never the same twice. Each part runs in processes of its own with a time limit. What it measures is kept at once below
`.run/bench`; a part that fails is a row; the table is printed whatever happened. A whole run writes
docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks import console, data, events, scheduler, stock
from benchmarks.place import Place, place
from benchmarks.results import Grid, Measured, Unfit, mark
from crossdock.errors import CrossdockError
from crossdock.settings import PROJECT, run_dir
from crossdock.systems.connections import this_machine_only
from sandbox.transactions import BadData

ROUNDS, QUICK_ROUNDS = 3, 1
QUICK_SKUS = 5_000
MONTH, QUICK_MONTH = (31, 4), (2, 2)  # days of January, in so many steps
TRADED, QUICK_TRADED = (24, 3), (5, 1)  # the same, for suggestions, where no month has been made
SEEDED, QUICK_SEEDED = 1_000_000, 20_000  # raw records beside those of the sandbox
# Raw records, letters, SKUs, lines of journal entries; and how often each call is asked.
CONSOLE, QUICK_CONSOLE = (1_000_000, 5_000, 250_000, 2_000_000, 20), (4_000, 200, 1_000, 7_000, 3)
BUDGET = 55 * 60  # seconds for the whole: no part is begun later
PAGE = PROJECT / "docs" / "performance.md"
PEERS = {"nested": "dlt, default (nested tables)", "json": "dlt, tuned (json column)",
         "arrow": "dlt, tuned, pages split by hand into Arrow"}  # fmt: skip
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def measure(here: Place, found: Measured, rounds: int) -> None:
    """Measures the orders flow; each part leaves the database that the next one copies."""
    _prepare(here, found)
    for number in range(rounds):
        name = f"round {number + 1} of {rounds}"
        with found.part(f"{name}: extract"):
            here.migrated("fresh")
            found.add("extract", here.ours("extract", "fresh", "all"))
        with found.part(f"{name}: extract, bare client"):
            for what in ("extract", "again"):
                here.empty("fresh")
                found.add("bare", here.bare(what, "fresh", "all"))
        here.migrated("fresh")
        for words in ("all.slow", "all"):
            with found.part(f"{name}: orders by the API v1{', 20 ms an answer' if 'slow' in words else ''}"):
                found.add(f"v1 {words}", here.ours("v1", "fresh", words))
                found.add(f"bare v1 {words}", here.bare("v1", "", words))
        if here.peers and number == rounds // 2:
            for how in PEERS:
                with found.part(f"{name}: {PEERS[how]}"):
                    here.empty("fresh")
                    found.add(how, here.peer(how, "fresh"))
        with found.part(f"{name}: transform and check"):
            here.copy("extracted", "fresh")
            found.add("stage", here.ours("stage", "fresh", "none"))
        with found.part(f"{name}: the floor of transform and check"):
            found.add("floor", here.bare("floor", "", "all", str(here.pages)))
        for words in ("all", "all.slow"):
            with found.part(f"{name}: load{', 20 ms an answer' if 'slow' in words else ''}"):
                here.copy("ready", "fresh")
                found.add(f"load {words}", here.ours("load", "fresh", words))
                found.add(f"bare {words}", here.bare("load", "", words, str(here.kept)))
        with found.part(f"{name}: a tick, and nothing new"):
            here.copy("loaded", "fresh")
            here.requests()
            found.add("tick", here.ours("tick", "fresh", "tick"))
            here.requests()
            found.add("nothing", here.ours("nothing", "fresh", "nothing"))
            found.add("nothing", {"requests": sum(here.requests().values())})
    here.drop("fresh")


def _prepare(here: Place, found: Measured) -> None:
    """The databases that are copied: all orders extracted, ready, loaded; and on the way the memory of a whole run."""
    with found.part("2,000 orders from extract to load, for their memory"):
        here.migrated("fresh")
        found.add("some", here.ours("whole", "fresh", "some.reference"))
    with found.part("all orders from extract to load, for their memory and for the bulks"):
        here.migrated("loaded")
        found.add("whole", here.ours("whole", "loaded", "all.reference.keep"))
        here.finish("loaded")
    with found.part("all orders extracted; then ready"):
        here.migrated("extracted")
        here.ours("extract", "extracted", "all.reference")
        here.copy("extracted", "ready")
        here.ours("stage", "ready", "none")


def measure_month(here: Place, found: Measured, days: int, steps: int) -> None:
    """Every flow on the sandbox: the shipped January, to the close and the reconciliation."""
    with found.part(f"{days} days of January on the sandbox: all flows, the close, the reconciliation"):
        here.migrated("month")
        with scheduler.on_ports_of_its_own(here.scratch / "month"), scheduler.sandbox():
            for reported in here.month("month", days, steps):
                found.add(reported.pop("part"), reported)


def measure_suggestions(here: Place, found: Measured, days: int, steps: int, records: int) -> None:
    """How often suggestions for mappings are right, of shipped mappings that are hidden one at a time."""
    found.facts["records"] = records
    if "month" not in here.made or found.facts["days"] < days:
        with found.part(f"suggestions: {days} days of January on the sandbox"):
            here.migrated("month")
            with scheduler.on_ports_of_its_own(here.scratch / "traded"), scheduler.sandbox():
                for _ in here.month("month", days, steps):
                    pass
    with found.part("suggestions: each mapping hidden once, and its lines asked for"):
        path = here.url("month")
        found.add("suggestions", here.run(sys.executable, "-m", "benchmarks.suggestions", path, "--seed", str(records)))


def measure_in_airflow(here: Place, found: Measured) -> None:
    with found.part("a tick inside Airflow"):
        here.seconds()
        found.add("airflow", scheduler.tick(here.scratch / "run", data.TICK))


def measure_stock(here: Place, found: Measured, skus: int) -> None:
    """The inventory flow over a catalogue and over a tenth of it: what a run costs that finds some changes, and a full
    compare that finds some levels wrong."""
    found.facts["skus"] = skus
    for size in (skus // 10, skus):
        with found.part(f"inventory: {size:,} SKUs for the first time"):
            here.migrated("stocked")
            keep = ".keep" if size == skus else ""
            found.add(f"first {size}", here.ours("stock-first", "stocked", f"stock{size}{keep}"))
            here.age("stocked")
        for what, word in (("changed", "changed"), ("compare", "drift")):
            with found.part(f"inventory: {size:,} SKUs, {stock.CHANGED} of them {word}"):
                here.copy("stocked", "fresh")
                here.requests()
                found.add(f"{what} {size}", here.ours(f"stock-{what}", "fresh", f"stock{size}.{word}"))
                found.add(f"{what} {size}", {"requests": sum(here.requests().values())})
    with found.part("inventory: a bare client writes the same quantities"):
        found.add("bare quantities", here.bare("quantities", "", f"stock{skus}", str(here.kept)))
    for name in ("stocked", "fresh"):
        here.drop(name)


def measure_console(here: Place, found: Measured, *sizes: int) -> None:
    """Every page and API call of the console that reads, over HTTP, on a database of a large shop. A call that is not
    answered is a part that failed."""
    records, letters, skus, lines, _ = sizes
    size = f"{records:,} raw records, {letters:,} dead letters, {skus:,} SKUs, {lines:,} lines of entries"
    with found.part(f"the console with {size}"):
        here.migrated("console")
        calls = here.console("console", *sizes)
        found.facts["console"] = size
        for name, (half, most, cpu, status, aim) in calls.items():
            found.add(f"console {name}", {"p50": half, "p95": most, "cpu": cpu, "status": status, "aim": aim})
            if not console.answered(status):
                with found.part(f"console {name}"):
                    raise Unfit(f"HTTP {status:.0f}" if status else "the connection was broken off")
    here.drop("console")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# ---- the table -----------------------------------------------------------------------------------------------------


def table(found: Measured, *parts: str) -> Grid:
    """One row a comparison, of the parts that were asked for."""
    grid = Grid()
    for part, rows in (("orders", _order_rows), ("month", _month_rows), ("airflow", _airflow_rows),
                       ("suggestions", _suggestion_rows), ("console", _console_rows),
                       ("stock", _stock_rows), ("events", events.rows)):  # fmt: skip
        if part in parts:
            rows(found, grid)
    grid.failures(found)
    return grid


def _order_rows(found: Measured, grid: Grid) -> None:
    facts = found.facts
    orders, lines = facts["orders"], facts["lines"]
    peers = [how for how in PEERS if f"{how}.first" in found]
    with grid.group("extract and stage"):
        first, again = found["extract.first"], found["extract.again"]
        grid.speeds("extract and stage", "orders/s", orders, first,
                    [("bare client", found["bare.first"], mark(found["bare.first"] / first >= 0.7, "≥ 0.70")),
                     *((PEERS[how], found[f"{how}.first"], "") for how in peers)])  # fmt: skip
        grid.row("the same pages again", f"{orders / again:,.0f} orders/s", "our first read",
                 f"{orders / first:,.0f} orders/s", f"{first / again:.2f}",
                 mark(first / again >= 5, "≥ 5.00"))  # fmt: skip
        grid.speeds("", "orders/s", orders, again,
                    [("bare client, comparing hashes", found["bare.again"], ""),
                     *((PEERS[how], found[f"{how}.again"], "") for how in peers)])  # fmt: skip
    with grid.group("raw to checked stage"):
        checked_stage = found["stage.transform"] + found["stage.check"]
        grid.speeds("raw to checked stage", "lines/s", lines, checked_stage,
                    [("pyarrow and numpy, no Postgres", found["floor.seconds"],
                      mark(lines / checked_stage >= 100_000, "≥ 100,000 lines/s"))])  # fmt: skip
    with grid.group("orders by the API v1"):
        ours, bare = found["v1 all.slow.seconds"], found["bare v1 all.slow.seconds"]
        aim = mark(bare / ours >= 0.7, "≥ 0.70")
        grid.speeds("read by the API v1, 20 ms an answer", "orders/s", orders, ours,
                    [("bare client, same pages, split", bare, aim)])  # fmt: skip
        ours, bare = found["v1 all.seconds"], found["bare v1 all.seconds"]
        grid.speeds("  from memory", "orders/s", orders, ours, [("bare client, same pages, split", bare, "")])
    for words, name in (("all", "load"), ("all.slow", "load, 20 ms an answer")):
        with grid.group(name):
            ours, bare = found[f"load {words}.load"], found[f"bare {words}.load"]
            aim = mark(bare / ours >= 0.7, "≥ 0.70")
            grid.speeds(name, "orders/s", orders, ours, [("bare client, same bulks", bare, aim)])
    with grid.group(f"a tick of {data.TICK} orders"):
        grid.row(f"a tick of {data.TICK} orders", f"{found['tick.seconds']:.2f} s", "imports, once a process",
                 f"{found['tick.imports']:.2f} s")  # fmt: skip
    with grid.group("peak memory, all orders"):
        some, every = found["some.megabytes"], found["whole.megabytes"]
        grid.row("peak memory, all orders", f"{every:,.0f} MB", "2,000 orders", f"{some:,.0f} MB",
                 f"{every / some:.2f}", mark(every / some <= 1.3 and every < 600, "≤ 1.30, < 600 MB"))  # fmt: skip
    with grid.group("a run that finds nothing new"):
        requested = found["nothing.requests"]
        grid.row("a run that finds nothing new", f"{requested:.0f} requests", "resources", "3", "",
                 mark(requested == 3 and not found["nothing.work"], "one a resource"))  # fmt: skip


def _month_rows(found: Measured, grid: Grid) -> None:
    days = found.facts["days"]
    for part, unit, what in (
        ("catalog", "products", "written by the flow catalog"), ("prices", "prices", "written by the flow prices"),
        ("inventory", "quantities", "written by the flow inventory"),
        ("orders to cash", "documents", f"of {days} days, from orders to payments"),
        ("ledger", "entries", f"of {days} days, posted"), ("close", "controls", "of the month"),
        ("reconcile", "keys", "compared in all subjects, both systems read whole"),
    ):  # fmt: skip
        with grid.group(part):
            seconds, count = found.last(f"{part}.seconds"), found.last(f"{part}.count")
            grid.row(part, f"{seconds:.1f} s", f"{count:,.0f} {unit} {what}",
                     f"{count / seconds:,.0f} {unit}/s" if count > 100 else "")  # fmt: skip


def _airflow_rows(found: Measured, grid: Grid) -> None:
    with grid.group("a tick inside Airflow"):
        seconds = found["airflow.seconds"]
        grid.row(f"a tick of {data.TICK} orders inside Airflow", f"{seconds:.1f} s", "the run to its end",
                 f"{found['airflow.run']:.1f} s", "", mark(seconds <= 8, "≤ 8 s"))  # fmt: skip


def _suggestion_rows(found: Measured, grid: Grid) -> None:
    """Of each shipped mapping, hidden while its lines are asked for."""
    with grid.group("suggestions for mappings"):
        first, three = found["suggestions.whole.top1"], found["suggestions.whole.top3"]
        grid.row("suggestions for mappings", f"top-1 {first:.1%}",
                 f"of {found['suggestions.whole.lines']:.0f} lines that a source field or a constant fills",
                 f"top-3 {three:.1%}", "", mark(first >= 0.85 and three >= 0.95, "≥ 85 %, ≥ 95 %"))  # fmt: skip
        right = found["suggestions.whole.right"]
        grid.row("  above 0.9 confidence", f"{right:.1%} right",
                 f"of {found['suggestions.whole.certain']:.0f} suggestions for all lines", "", "",
                 mark(right >= 0.98, "≥ 98 %"))  # fmt: skip
        for variant, words in (("with_rules", "rules offered too, all lines"), ("values_alone", "names hidden"),
                               ("names_alone", "no record on both sides")):  # fmt: skip
            certain, right = found[f"suggestions.{variant}.certain"], found[f"suggestions.{variant}.right"]
            grid.row(f"  {words}", f"top-1 {found[f'suggestions.{variant}.top1']:.1%}",
                     f"above 0.9: {certain:.0f}, {right:.1%} right" if certain else "above 0.9: none",
                     f"top-3 {found[f'suggestions.{variant}.top3']:.1%}")  # fmt: skip
        p95 = found["suggestions.p95"]
        grid.row("  one field, p95", f"{p95 * 1000:.0f} ms", f"beside {found.facts['records']:,} raw records",
                 f"median {found['suggestions.median'] * 1000:.0f} ms", "", mark(p95 < 0.3, "< 300 ms"))  # fmt: skip


def _stock_rows(found: Measured, grid: Grid) -> None:
    """The inventory flow. What it costs to find 500 changes must not grow with the catalogue; memory neither."""
    skus, tenth = found.facts["skus"], found.facts["skus"] // 10
    with grid.group("write quantities"):
        first, bare = found[f"first {skus}.load"], found["bare quantities.load"]
        grid.speeds("write quantities", "SKUs/s", skus, first, [("bare client, same batches", bare, "")])
    with grid.group(f"{skus:,} SKUs for the first time"):
        grid.row(f"{skus:,} SKUs for the first time", f"{found[f'first {skus}.seconds']:.0f} s",
                 f"{tenth:,}", f"{found[f'first {tenth}.seconds']:.0f} s")  # fmt: skip
    with grid.group(f"{stock.CHANGED} of {skus:,} SKUs changed"):
        some, every = found[f"changed {tenth}.seconds"], found[f"changed {skus}.seconds"]
        grid.row(f"{stock.CHANGED} of {skus:,} SKUs changed", f"{every:.1f} s", f"of {tenth:,}", f"{some:.1f} s",
                 f"{some / every:.2f}", mark(some / every >= 0.67, "≥ 0.67"))  # fmt: skip
        requested = found[f"changed {skus}.requests"], found[f"changed {tenth}.requests"]
        grid.row(
            "  requests",
            f"{requested[0]:.0f}",
            "",
            f"{requested[1]:.0f}",
            "",
            mark(requested[0] == requested[1], "the same"),
        )
    with grid.group(f"full compare of {skus:,} SKUs"):
        seconds, first = found[f"compare {skus}.seconds"], found[f"first {skus}.seconds"]
        grid.row(f"full compare of {skus:,} SKUs", f"{seconds:.0f} s", "all of them for the first time",
                 f"{first:.0f} s", f"{first / seconds:.2f}")  # fmt: skip
        small, large = found[f"compare {tenth}.megabytes"], found[f"compare {skus}.megabytes"]
        grid.row("  peak memory", f"{large:,.0f} MB", f"of {tenth:,} SKUs", f"{small:,.0f} MB", f"{large / small:.2f}",
                 mark(large / small <= 1.3 and large < 600, "≤ 1.30, < 600 MB"))  # fmt: skip


def _console_rows(found: Measured, grid: Grid) -> None:
    """One row a call, the slowest first. One that is not answered has no time to speak of."""
    with grid.group("pages and API calls of the console"):
        names = [name.removesuffix(".p95") for name in found.values if re.fullmatch(r"console .*\.p95", name)]
        wrong = [name for name in names if not console.answered(found[f"{name}.status"])]
        slow = [name for name in names if found[f"{name}.p95"] > found[f"{name}.aim"] and name not in wrong]
        grid.row("pages and API calls of the console", f"{len(names) - len(slow) - len(wrong)} of {len(names)}",
                 found.facts["console"], "", "",
                 mark(not (slow or wrong), f"p95 ≤ {console.SLOW} ms, a trial ≤ {console.TRIAL:,} ms"))  # fmt: skip
        for name in sorted(names, key=lambda name: (name not in wrong, -found[f"{name}.p95"])):
            half, most, cpu, status, aim = (found[f"{name}.{what}"] for what in ("p50", "p95", "cpu", "status", "aim"))
            grid.row(
                f"  {name.removeprefix('console ')}",
                f"{most:,.0f} ms" if name not in wrong else f"FAILED: HTTP {status:.0f}",
                "half of them; CPU", f"{half:,.0f} ms; {cpu:,.0f} ms", "",
                mark(False, f"≤ {aim:,.0f} ms") if name in slow else "",
            )  # fmt: skip


def caption(found: Measured, source: Path | None, rounds: int) -> str:
    facts = found.facts
    origin = f"the file {source.name}" if source else (
        f"the shipped January, its orders {facts['repetitions']} times over under new numbers"
    )  # fmt: skip
    return (
        f"{facts['orders']:,} orders, {facts['lines']:,} lines, {facts['bytes'] / 1e6:.0f} MB: {origin}.\n"
        f"{machine()}; medians of {rounds} interleaved rounds in fresh processes, dlt in one of them; imports not "
        "counted."
    )


def machine() -> str:
    """The day, and what it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def page(grid: Grid, words: str, minutes: float) -> str:
    """docs/performance.md."""
    return (
        "# Performance\n\nWritten by `make bench`; a quick form runs with every change (`make bench QUICK=1`).\n\n"
        f"{grid.markdown()}\n{words} The whole took {minutes:.0f} minutes.\n\n"
        "A ratio is how many times as fast ours is. The bare client does the least that does the same, by hand, "
        "without retries, budgets,\ndead letters or checkpoints. The rows of orders and of quantities are measured "
        "against a server that answers from memory; those\nof the other flows against the sandbox. Its limits of "
        "requests a minute are lifted, and ours: real systems are slower.\n"
    )


def of_console(grid: Grid, words: str) -> str:
    """The section of the console, which `--only console` writes anew."""
    return (
        f"{CONSOLE_TITLE}\n\n{grid.markdown()}\n{words}. Every page and every API call that only answers, over HTTP "
        "through Airflow's api-server, all of them\nin turn; the first turn is not counted. CPU is that of the "
        "api-server and of the client that asks; Postgres works beside\nthem. Of a download the time is that until it "
        "begins.\n"
    )


def of_events(grid: Grid, words: str) -> str:
    """The section of events, which `--only events` writes anew."""
    return (
        f"{EVENTS_TITLE}\n\n{grid.markdown()}\n{words}. Airflow, Postgres, both systems of the sandbox and the "
        "receiver share the machine; every DAG is on,\nand requests are limited as the contracts say. The orders are "
        "those of the shipped January. In the storm the receiver, the\ntask that works events, Postgres and the "
        "scheduler are killed in turn, and of a hundred events two each are sent twice, late,\nin disorder, cut, "
        "behind a forged one, or never.\n"
    )


CONSOLE_TITLE = "\n## The console at size"
EVENTS_TITLE = "\n## Events"
SECTIONS = {"console": (CONSOLE_TITLE, of_console), "events": (EVENTS_TITLE, of_events)}  # pages of their own parts
PARTS = ("orders", "month", "airflow", "suggestions", "console", "stock", "events")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--data", type=Path, help="a file of Online Retail; absent: the shipped January, repeated")
    parser.add_argument("--quick", action="store_true", help="small, one round, no peers: does it work?")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument("--peers", type=Path, help="Python of the environment that dlt is installed in")
    options = parser.parse_args()
    this_machine_only("a benchmark", ())
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    parts = [options.only] if options.only else [each for each in PARTS if not (options.quick and each == "airflow")]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it with its table
    begun = time.monotonic()
    found = Measured(run_dir() / "bench" / f"results-{time.strftime('%Y%m%d-%H%M%S')}.jsonl", say)
    broken = False
    try:
        _measure(found, options, parts, rounds, begun + BUDGET)
    except (CrossdockError, BadData, Unfit) as error:
        print(error, file=sys.stderr)
        broken = True
    except KeyboardInterrupt:
        say("broken off; what was measured until now:")
        broken = True
    if not found.facts:
        return 1
    words, minutes = caption(found, options.data, rounds), (time.monotonic() - begun) / 60
    grid = table(found, *(part for part in parts if part not in SECTIONS))
    if options.only not in SECTIONS:
        out.print(grid.table("Crossdock beside plain clients and peers"))
        out.print(words)
    own = {part: table(found, part) for part in SECTIONS if part in parts}
    for part, each in own.items():
        out.print(each.table(SECTIONS[part][0].removeprefix("\n## ")))
    out.print(f"Every number: {found.book}")
    if not (broken or options.quick or options.only not in (None, *SECTIONS)):
        text = PAGE.read_text() if options.only else page(grid, words, minutes)
        for part, each in own.items():
            title, section = SECTIONS[part]
            text = _with(text, title, section(each, machine()))
        PAGE.write_text(text)
        out.print(f"Written: {PAGE.relative_to(PROJECT)}")
    return int(broken or bool(found.failures))


def _with(text: str, title: str, section: str) -> str:
    """A page with its section of that title replaced, or added at its end."""
    before, _, after = text.partition(title)
    _, is_there, rest = after.partition("\n## ")
    return before + section + is_there + rest


def _measure(found: Measured, options: argparse.Namespace, parts: list[str], rounds: int, until: float) -> None:
    say("making the pages (kept in the run folder)")
    pages = data.prepare(options.data, data.QUICK_ORDERS if options.quick else data.ORDERS)
    days, steps = QUICK_MONTH if options.quick else MONTH
    found.facts |= data.facts(pages) | {"days": days, "skus": QUICK_SKUS if options.quick else stock.SKUS}
    with place(pages, None if options.quick else options.peers, until) as here:
        if "orders" in parts:
            measure(here, found, rounds)
        if "month" in parts:
            measure_month(here, found, days, steps)
        if "airflow" in parts:
            measure_in_airflow(here, found)
        if "suggestions" in parts:
            traded = QUICK_TRADED if options.quick else TRADED
            measure_suggestions(here, found, *traded, QUICK_SEEDED if options.quick else SEEDED)
        if "console" in parts:
            measure_console(here, found, *(QUICK_CONSOLE if options.quick else CONSOLE))
        if "events" in parts:
            sizes = events.QUICK if options.quick else events.FULL
            events.measure_receiver(here, found, sizes)
            events.measure(here.scratch / "events", found, sizes)
        if "stock" in parts:  # the longest by far: last, in case the time is up
            measure_stock(here, found, found.facts["skus"])


if __name__ == "__main__":
    raise SystemExit(main())
