"""The benchmark keeps what it has, whatever happens: numbers as they come, failures as rows, a table at the end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import benchmarks.__main__ as bench
import pytest
import yaml
from benchmarks import data, suggestions
from benchmarks.place import Place
from benchmarks.results import Grid, Measured, Missing, mark

from crossdock.mapping import language
from crossdock.mapping.suggest.ranking import Suggestion
from sandbox.transactions import BadData

FACTS = {"orders": 100, "lines": 300, "bytes": 1, "repetitions": 1, "days": 2, "skus": 50}


@pytest.fixture
def found(tmp_path: Path) -> Measured:
    return Measured(tmp_path / "bench" / "results.jsonl", facts=dict(FACTS))


def kept(found: Measured) -> list[dict]:
    return [json.loads(line) for line in found.book.read_text().splitlines()]


def test_numbers_are_on_disk_as_they_come_and_a_part_that_fails_takes_none_with_it(found: Measured) -> None:
    with found.part("first"):
        found.add("extract", {"first": 2, "again": 1})
    with found.part("second"):
        raise RuntimeError("benchmarks.ours failed:\nTraceback\nOperationalError: the disk is full")
    with found.part("third"):
        found.add("extract", {"first": 4, "again": 1})
    assert [line.get("measured", line.get("failed")) for line in kept(found)] == ["extract", "second", "extract"]
    assert found["extract.first"] == 3
    assert found.failures == {"second": "OperationalError: the disk is full"}


def test_a_number_that_was_not_told_is_a_failure_with_its_name(found: Measured) -> None:
    with found.part("a tick inside Airflow"):
        found.add("airflow", {"seconds": None, "run": 4.0})
    assert found.failures == {"a tick inside Airflow": "airflow has told no seconds"}
    assert "airflow.run" not in found


def test_a_process_that_does_not_end_is_a_failure_too(found: Measured) -> None:
    with found.part("slow"):
        subprocess.run(["sleep", "60"], timeout=0.05, check=True)
    assert found.failures == {"slow": "not done within 0 s"}


def test_no_process_is_begun_when_the_time_for_the_whole_is_up(found: Measured) -> None:
    here = Place("", "", Path(), Path(), Path(), None, until=0)
    with found.part("late"):
        here.run("true")
    with found.part("later"):
        list(here.month("month", 1, 1))
    assert set(found.failures.values()) == {"the time for the whole was up before it began"}
    assert set(found.failures) == {"late", "later"}


def test_ctrl_c_is_no_failure_of_a_part(found: Measured) -> None:
    with pytest.raises(KeyboardInterrupt), found.part("one"):
        raise KeyboardInterrupt
    assert found.failures == {}


def test_the_table_tells_what_was_measured_what_was_not_and_what_failed(found: Measured) -> None:
    for name, result in {
        "extract": {"first": 1, "again": 0.1}, "bare": {"first": 0.8, "again": 0.1},
        "ledger": {"seconds": 2, "count": 500}, "tick": {"seconds": 1, "imports": 2},
    }.items():  # fmt: skip
        found.add(name, result)
    with found.part("load"):
        raise RuntimeError("no room")
    page = bench.table(found, *bench.PARTS).markdown()
    assert "| extract and stage | 100 orders/s | bare client | 125 orders/s | 0.80 | ≥ 0.70 met |" in page
    assert "| ledger | 2.0 s | 500 entries of 2 days, posted | 250 entries/s |  |  |" in page
    for name in ("raw to checked stage", "load", "catalog", "prices", "close", "reconcile", "a tick inside Airflow"):
        assert f"| {name} | not measured |" in page, name
    assert "| FAILED: load | no room |" in page


def test_a_call_of_the_console_that_takes_too_long_or_is_not_answered_is_named(found: Measured) -> None:
    found.facts["console"] = "1,000 raw records"
    found.add("console GET /letters?flow=orders", {"p50": 40, "p95": 90, "cpu": 30, "status": 200, "aim": 300})
    found.add("console GET /money", {"p50": 200, "p95": 301, "cpu": 30, "status": 303, "aim": 300})
    found.add("console POST /trial", {"p50": 2000, "p95": 2900, "cpu": 1500, "status": 200, "aim": 3000})
    found.add("console GET /record", {"p50": 2, "p95": 3, "cpu": 1, "status": 422, "aim": 300})
    page = bench.table(found, "console").markdown()
    assert "| pages and API calls of the console | 2 of 4 | 1,000 raw records |  |  | p95 ≤ 300 ms, a trial" in page
    assert "|   GET /record | FAILED: HTTP 422 |" in page
    assert "|   GET /money | 301 ms | half of them; CPU | 200 ms; 30 ms |  | ≤ 300 ms missed |" in page
    assert "|   GET /letters?flow=orders | 90 ms | half of them; CPU | 40 ms; 30 ms |  |  |" in page


def test_a_call_of_the_console_that_is_not_answered_fails_the_whole(found: Measured) -> None:
    class Here(Place):
        def migrated(self, name: str) -> str:
            return name

        drop = migrated  # type: ignore[assignment]

        def console(self, name: str, *sizes: int) -> dict[str, list[float]]:
            return {"GET /a": [1, 2, 1, 200, 300], "GET /b": [1, 2, 1, 0, 300], "GET /c": [1, 2, 1, 404, 300]}

    bench.measure_console(Here("", "", Path(), Path(), Path(), None, 0), found, 1, 1, 1, 1, 1)
    assert found.failures == {"console GET /b": "the connection was broken off", "console GET /c": "HTTP 404"}
    assert found["console GET /c.status"] == 404


def test_the_section_of_the_console_is_written_anew_by_its_own_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measured(found: Measured, *_: object) -> None:
        found.facts |= {**FACTS, "console": "1,000 raw records"}
        found.add("console GET /money", {"p50": 1, "p95": 2, "cpu": 1, "status": 200, "aim": 300})

    monkeypatch.setattr(bench, "_measure", measured)
    monkeypatch.setattr(bench, "PROJECT", tmp_path)
    monkeypatch.setattr(bench, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only", "console"])
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    bench.PAGE.write_text(f"# Performance\n\n| orders | 1 |\n{bench.CONSOLE_TITLE}\n\n| GET /gone | 5 ms |\n")
    assert bench.main() == 0
    page = bench.PAGE.read_text()
    assert page.startswith(f"# Performance\n\n| orders | 1 |\n{bench.CONSOLE_TITLE}\n\n")
    assert "|   GET /money | 2 ms |" in page
    assert "GET /gone" not in page


EVENTS = {
    "events": {"in_tims_p50": 1.1, "in_tims_p95": 2.4, "received_p50": 0.01, "received_p95": 0.02, "taken_p50": 0.2,
               "taken_p95": 0.5, "confirmed_p50": 1.5, "confirmed_p95": 2, "whole_p50": 1.2, "whole_p95": 2.5,
               "orders": 1500, "listed": 2, "missing": 0},
    "storm": {"seconds": 300, "fed": 200, "events": 50_000, "lost": 0, "twice": 1, "orders": 2000, "unexplained": 0,
              "never": 900, "errors": 0, "unavailable": 12, "later": 1.2},
    "receiver": {"p50": 4, "p95": 12, "refused": 0, "megabytes": 90},
    "idle with": {"airflow": 9.5}, "idle without": {"airflow": 8},
}  # fmt: skip


def test_the_rows_of_events_say_what_was_met_and_what_was_missed(found: Measured) -> None:
    for name, result in EVENTS.items():
        found.add(name, result)
    page = bench.table(found, "events").markdown()
    for row in (
        "| an order's event to the sales order | p95 2.40 s | half of them | 1.10 s |  | p50 ≤ 1.2 s, p95 ≤ 2 s missed",
        "|   orders lost; twice | 0; 1 | of | 2,000 |  | 0; 0 missed |",
        "| the receiver at 300 deliveries/s | p95 12.0 ms |",
        "| waiting for events, of a core | 1.5 % |",
    ):
        assert row in page


@pytest.mark.parametrize("part", sorted(bench.SECTIONS))
def test_a_section_takes_the_place_of_its_own_and_of_no_other(part: str) -> None:
    titles = [title for title, _ in bench.SECTIONS.values()]
    text = "# Performance\n" + "".join(f"{title}\n\nold {title.strip()}\n" for title in titles)
    title = bench.SECTIONS[part][0]
    made = bench._with(text, title, f"{title}\n\nnew\n")
    assert made == text.replace(f"old {title.strip()}", "new")
    assert bench._with("# Performance\n", title, f"{title}\n\nnew\n") == f"# Performance\n{title}\n\nnew\n"


def test_nothing_measured_is_a_table_all_the_same(found: Measured) -> None:
    assert bench.table(found, *bench.PARTS).markdown().count("not measured") >= 12


def test_what_was_not_measured_is_never_a_number(found: Measured) -> None:
    with pytest.raises(Missing):
        found["nothing.seconds"]


def test_an_aim_is_coloured_in_the_terminal_and_plain_on_the_page() -> None:
    grid = Grid()
    grid.row("a", "1", aim=mark(True, "≥ 1"))
    grid.row("b", "1", aim=mark(False, "≥ 1"))
    assert list(grid.table("t").columns[-1].cells) == ["≥ 1 [green]met[/green]", "≥ 1 [red]missed[/red]"]
    assert "≥ 1 met |" in grid.markdown()


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(BadData, match="no-such-file"):
        data.prepare(Path("/no-such-file.csv.gz"))


def test_a_run_that_is_broken_off_prints_its_table_and_writes_no_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken_off(found: Measured, *_: object) -> None:
        found.facts |= FACTS
        found.add("ledger", {"seconds": 2, "count": 500})
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "_measure", broken_off)
    monkeypatch.setattr(bench, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    assert bench.main() == 1
    assert "500 entries of 2 days" in capsys.readouterr().out
    assert not bench.PAGE.exists()


def test_every_line_that_a_rule_fills_has_an_answer_to_be_held_against() -> None:
    """And no answer is left over of a line that there is no more; each names fields that the source has."""
    carried = yaml.safe_load(suggestions.CARRIED.read_text())
    for name in language.names():
        mapping = language.load(name)
        by_rule = {f"{inside}.{one.target}" if inside else one.target
                   for one, inside in suggestions.lines(mapping) if one.rule}  # fmt: skip
        assert by_rule == set(carried.get(name, {}))
        source = mapping.source_document
        of_lines = {path for each in source.fields.values() if each.items for path in each.items.leaves}
        for path in {path for paths in carried.get(name, {}).values() for path in paths}:
            assert path.removeprefix("head.") in source.leaves or path in of_lines, path


def test_what_is_right_is_what_the_hidden_line_says() -> None:
    mapping = language.load("sales_order")
    by_target = {one.target: one for one in mapping.fields}
    carried = yaml.safe_load(suggestions.CARRIED.read_text())

    def right(target: str, **made: Any) -> bool:
        one = by_target[target]
        given = Suggestion(target, made.pop("source", None), 0.99, (), **made)
        return suggestions.is_right(given, mapping, one, "", suggestions.accepted(mapping, one, "", carried))

    assert right("CurrencyCode", source="Currency")
    assert not right("CurrencyCode", source="SiteName")
    assert right("Source", constant="ChannelAdvisor")
    assert not right("Source", constant="Crossdock")
    assert not right("Source", source="SiteName")
    assert right("TaxTotal", source="TotalTaxPrice")
    assert right("TaxTotal", rule="totals")
    assert not right("TaxTotal", rule="settle_amounts")
    assert not right("CustomerID", source="CustomerInfo.CustomerID")  # a rule decides: no field is right
