"""The last units, many buyers, failing runs: nothing is sold that is not there once a run has seen the order.

`make rush` plays several rushes and prints the numbers of docs/inventory.md.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration import rush
from integration.town import found_town

SEEDS = range(1, 1 + int(os.environ.get("RUSHES", "1")))
ROUNDS = 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_run_of_inventory_nothing_is_on_offer_that_an_order_read_by_then_needs(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    rush.prepared(monkeypatch, tmp_path)
    came_to = {}
    for name, tell, promise in (("ours", rush.ours(), rush.nothing_twice), ("copy", rush.copy, lambda _: [])):
        with found_town(postgres_url, f"rush_{name}", tmp_path / name) as town:
            rush.open_shop(town)
            told = came_to[name] = rush.rush(town, seed, ROUNDS, tell, promise)
        print(f"\nRUSH {seed} {name}: {told}", end="")
    assert came_to["ours"].broken == []
    assert came_to["ours"].failed
    assert came_to["ours"].oversold < came_to["copy"].oversold
