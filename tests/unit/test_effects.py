"""Which flows a file of rules concerns, and how what differs is written."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from crossdock import flows, settings
from crossdock.flow import Staged
from crossdock.services import effects
from crossdock.settings import base_dir
from crossdock.steps.dry_run import Verdict

FILES = sorted(
    path.relative_to(base_dir()).as_posix()
    for path in base_dir().rglob("*")
    if path.suffix in (".yaml", ".csv") and path.parent.name != "mappings"
)
ONLY_RUNS = (
    "flows.yaml",
    "intake.yaml",
    "systems.yaml",
    "tims.yaml",
    "console.yaml",
    "receiver.yaml",
)  # they say how flows run, and change no document


@pytest.mark.parametrize("path", FILES)
def test_it_is_decided_of_every_file_what_would_change(path: str) -> None:
    kinds = (effects.PRICES, effects.STOCK, effects.POSTING, effects.WITH_THE_NEXT, effects.OF_THE_API, ONLY_RUNS)
    decided = [kind for kind in kinds if path in kind]
    assert decided or effects._readers(path), path
    assert set(effects._readers(path)) <= set(flows.all_flows())


def test_a_lookup_that_an_analyst_has_added_is_read_by_the_flows_whose_mapping_names_it(tmp_path: Path) -> None:
    path, tree = "lookups/colours.csv", tmp_path / "config"
    shutil.copytree(base_dir(), tree)
    shutil.copy(tree / "lookups" / "hold_status.csv", tree / path)
    with settings.using(tree):
        assert effects.read_by(path) == ()
        assert list(effects._words([path], [])) == [
            "It changes no document yet: a lookup is read once a mapping names it."
        ]
        holds = tree / "mappings" / "holds.yaml"
        holds.write_text(holds.read_text().replace("lookup: hold_status", "lookup: colours"))
        assert effects.read_by(path) == ("holds",)


def staged(*lines: dict) -> Staged:
    empty = pd.DataFrame()
    return Staged(empty, pd.DataFrame(list(lines)), empty)


def price(sku: str, amount: int | None, cost: int = 50_000) -> dict:
    return {"sku": sku, "site_id": 0, "listing_id": None, "Price": amount, "Currency": "GBP", "cost": cost,
            "promotion_id": None}  # fmt: skip


def test_prices_that_stay_are_left_out_and_margins_are_of_the_price() -> None:
    before = staged(price("A", 100_000), price("B", 100_000), price("C", 80_000))
    after = staged(price("A", 125_000), price("B", 100_000), price("D", 70_000))
    found = {one["sku"]: one for one in effects.price_changes(before, after)}
    assert found.keys() == {"A", "C", "D"}
    one = found["A"]
    assert (one["now"], one["then"], one["change"]) == (Decimal(10), Decimal("12.5"), Decimal("25.0"))
    assert (one["margin_now"], one["margin_then"]) == (Decimal("50.0"), Decimal("60.0"))
    assert (found["C"]["then"], found["D"]["now"], found["D"]["change"]) == (None, None, None)


def test_a_record_that_comes_to_something_else_says_so() -> None:
    dead = Verdict("1", "dead", reasons=[{"rule": "unknown_carrier"}])
    sent = Verdict("1", "ready", document={"Carrier": "DPD", "Address": {"City": "Leeds"}, "Lines": [{"SKU": "A"}]})
    assert next(effects.differing(dead, sent)) == ("what becomes of it", "dead letter: unknown carrier", "sent")
    other = Verdict("1", "ready", document={"Carrier": "UPS", "Address": {"City": "York"}, "Lines": [{"SKU": "B"}]})
    assert list(effects.differing(sent, other, lambda path: path != "Address.City")) == [
        ("Address.City", "•••", "•••"), ("Carrier", "DPD", "UPS"), ("Lines[1].SKU", "A", "B"),
    ]  # fmt: skip
    assert list(effects.differing(sent, sent)) == []
