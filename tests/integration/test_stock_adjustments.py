"""The stock adjustments flow: files of the inbox to TIMS, each movement once."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crossdock import flows
from crossdock.errors import Transient
from crossdock.runtime import Runtime
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from crossdock.store.batches import Counts
from crossdock.systems.inbox import Inbox
from integration.environment import Environment, moment

HEADER = "Reference,OccurredAt,SKU,LocationID,Quantity,Reason,Memo\n"
LEDGER = (
    "Date\tFNSKU\tASIN\tMSKU\tTitle\tEvent Type\tReference ID\tQuantity\tFulfillment Center\tDisposition\tReason\t"
    "Country\n"
)
SKU, KIT = "22386", "22139"
FLOW = flows.get("stock_adjustments")


@dataclass
class Yard:
    """An environment with an inbox."""

    environment: Environment
    inbox: Path
    number: int = 0

    def runtime(self) -> Runtime:
        return Runtime(self.environment.database_url, self.environment.connections.__getitem__, self.inbox)

    def deposit(self, text: str, source: str = "warehouse", name: str = "") -> Path:
        self.number += 1
        path = self.inbox / "stock" / source / (name or f"file-{self.number}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def sync(self, window: Window | None = None, **more: Any) -> Counts:
        self.environment.tick(self.environment.now + timedelta(seconds=5))
        with self.runtime() as runtime:
            return run_batches(runtime, FLOW, extract(runtime, FLOW, window or Window(), **more))

    def adjustments(self) -> dict[str, dict[str, Any]]:
        found = [
            a for a in self.environment.in_tims("inventory/adjustments") if a["ExternalReference"].startswith("mov:")
        ]
        references = [a["ExternalReference"] for a in found]
        assert len(references) == len(set(references))
        return {a["ExternalReference"].removeprefix("mov:"): a for a in found}

    def reasons(self, key: str) -> set[str]:
        letter = self.environment.letters().get(key)
        return {reason["rule"] for reason in letter.reasons} if letter else set()


@pytest.fixture(scope="module")
def yard(long_lived_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Yard:
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-10")
    return Yard(long_lived_environment, tmp_path_factory.mktemp("inbox"))


def row(reference: str, quantity: object = -2, reason: str = "Damaged", sku: str = SKU, day: str = "05/01/2011") -> str:
    return f"{reference},{day},{sku},MAIN,{quantity},{reason},wet\n"


@pytest.mark.slow
def test_a_write_off_reaches_tims_once_with_its_reason_and_its_day_and_the_file_moves_to_done(yard: Yard):
    path = yard.deposit(HEADER + row("A-1") + row("A-2", 3, "Found", sku=SKU.lower()))
    counts = yard.sync()
    assert (counts.read, counts.delivered) == (2, 2)
    made = yard.adjustments()["warehouse:A-1"]
    assert (made["SKU"], made["QuantityDelta"], made["ReasonCode"], made["LocationID"], made["PostingDate"]) == (
        SKU, -2, "Damage", "MAIN", "2011-01-05",
    )  # fmt: skip
    (item,) = [item for item in yard.environment.in_tims("inventory/items") if item["SKU"] == SKU]
    assert made["UnitCost"] == item["Cost"]
    assert not path.exists()
    done = path.parent / "done" / path.name
    assert done.exists()
    path.write_bytes(done.read_bytes())
    os.utime(path, (done.stat().st_mtime, done.stat().st_mtime))
    assert yard.sync().delivered == 0  # put back as it was: known, and moved again
    assert not path.exists()


@pytest.mark.slow
def test_the_same_movement_in_another_file_or_a_backfill_posts_nothing_new(yard: Yard):
    yard.deposit(HEADER + row("B-1"))
    yard.sync()
    before = yard.adjustments()
    yard.deposit(HEADER + row("B-1"))
    assert yard.sync().delivered == 0
    counts = yard.sync(Window(moment("2011-01-01"), moment("2011-02-01")), kind="backfill", reprocess=True)
    assert counts.read > 0
    assert counts.delivered == 0
    assert yard.adjustments() == before


@pytest.mark.slow
def test_what_cannot_be_posted_is_a_dead_letter_with_its_reason_and_the_others_go_through(yard: Yard):
    rows = [row("C-1"), row("C-2", reason="Vanished"), row("C-3", sku="NO-SUCH"), row("C-4", 0), row("C-5", "few")]
    rows += [row("C-6", sku=KIT), row("C-7", day="someday"), row("C-8", reason="Receipts")]
    yard.deposit(HEADER + "".join(rows))
    yard.sync()
    assert "warehouse:C-1" in yard.adjustments()
    assert {key: yard.reasons(f"warehouse/C-{key}") for key in range(1, 9)} == {
        1: set(), 2: {"unknown_reason"}, 3: {"unknown_sku"}, 4: {"no_quantity"}, 5: {"wrong_type"},
        6: {"no_stock_of_its_own"}, 7: {"unreadable_date"}, 8: set(),
    }  # fmt: skip
    assert not [key for key in yard.adjustments() if key.startswith("warehouse:C-") and key != "warehouse:C-1"]
    letter = yard.environment.letters()["warehouse/C-4"]
    with yard.runtime() as runtime:
        with runtime.engine.begin() as connection:
            dead_letters.edit(connection, letter.id, letter.payload | {"Quantity": -4}, who="clerk")
        run_batches(runtime, FLOW, extract(runtime, FLOW, kind="replay", keys=["warehouse/C-4"]))
    assert yard.adjustments()["warehouse:C-4"]["QuantityDelta"] == -4


@pytest.mark.slow
def test_a_movement_that_changes_after_it_was_posted_is_a_dead_letter_with_both_numbers(yard: Yard):
    yard.deposit(HEADER + row("D-1"))
    yard.sync()
    yard.deposit(HEADER + row("D-1", -9))
    yard.sync()
    assert yard.reasons("warehouse/D-1") == {"changed_after_posting"}
    message = yard.environment.letters()["warehouse/D-1"].reasons[0]["says"]
    assert "-9 units" in message
    assert "are -2" in message
    assert yard.adjustments()["warehouse:D-1"]["QuantityDelta"] == -2


@pytest.mark.slow
def test_an_unreadable_file_is_one_dead_letter_that_names_it_and_stays_in_the_inbox(yard: Yard):
    path = yard.deposit("Ref;Day\n1;2\n", name="wrong.csv")
    yard.sync()
    assert yard.reasons("warehouse/file:wrong.csv") != set()
    (alert,) = yard.environment.query("SELECT * FROM ops.alert WHERE kind = 'file_refused'")
    assert "wrong.csv" in alert.title
    assert path.exists()
    path.write_text(HEADER + row("E-1"))
    yard.sync()
    assert "warehouse:E-1" in yard.adjustments()
    assert not path.exists()


@pytest.mark.slow
def test_of_amazons_ledger_only_what_tims_does_not_know_is_posted_at_the_marketplaces_location(yard: Yard):
    def event(kind: str, quantity: int, reason: str = "", disposition: str = "SELLABLE") -> str:
        cells = (
            "05/01/2011",
            "X1",
            "B1",
            SKU,
            "A bell",
            kind,
            "4711",
            str(quantity),
            "LTN1",
            disposition,
            reason,
            "GB",
        )
        return "\t".join(cells) + "\n"

    lost = event("Adjustments", -1, "M")
    rows = event("Shipments", -1) + lost * 2 + event("CustomerReturns", 1) + event("Receipts", 50)
    path = yard.deposit(LEDGER + rows + event("Adjustments", 1, "E", "WAREHOUSE_DAMAGED"), "amazon_uk", "one.txt")
    assert yard.sync().delivered == 2
    made = [a for key, a in yard.adjustments().items() if key.startswith("amazon_uk:")]
    assert [(a["LocationID"], a["QuantityDelta"], a["ReasonCode"]) for a in made] == [("MARKETPLACE", -1, "Loss")] * 2
    yard.deposit(LEDGER + lost * 2 + event("Adjustments", 2, "F"), "amazon_uk", "two.txt")  # overlaps with the first
    assert yard.sync().delivered == 1
    assert len([key for key in yard.adjustments() if key.startswith("amazon_uk:")]) == 3
    quiet = yard.deposit(LEDGER + event("Shipments", -1), "amazon_uk", "quiet.txt")
    assert yard.sync().skipped == 1
    assert not path.exists()
    assert not quiet.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("error_after", {"path": "bulk", "times": 2}),
        ("bulk_partial", {"path": "bulk", "times": 1, "every": 2, "effect": True}),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_fault_that_passes_loses_nothing_and_posts_nothing_twice(yard: Yard, kind: str, rule: dict):
    yard.deposit(HEADER + "".join(row(f"F-{kind}-{n}", -1) for n in range(6)))
    yard.environment.fault("tims", kind, **rule)
    for _ in range(4):
        try:
            yard.sync(run_id=kind)
            break
        except Transient:
            continue
    yard.environment.clear_faults()
    yard.sync(run_id=kind)
    assert len([key for key in yard.adjustments() if key.startswith(f"warehouse:F-{kind}-")]) == 6
    states = yard.environment.query(
        f"SELECT DISTINCT state FROM stage.stock_adjustment WHERE key LIKE 'warehouse/F-{kind}-%%'"
    )
    assert {state for (state,) in states} <= {"delivered", "unchanged"}


def test_a_socket_in_the_inbox_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "stock" / "warehouse"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)  # the path of a socket may have a hundred characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("a.csv")
        (record,) = [json.loads(bytes(one)) for page in Inbox(tmp_path).pages("stock") for one in page.records]
    assert record["RefusedFor"] == "not_a_file"
    assert "a socket" in record["RefusedSays"]
    assert record["RefusedDo"]
