"""The last units, many buyers, failing runs: nothing is sold that is not there once a run has seen the order.

`make oversell` plays several and prints the numbers of docs/inventory.md.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration import oversell
from integration.environment import found_environment

SEEDS = range(1, 1 + int(os.environ.get("OVERSELL_SEEDS", "1")))
ROUNDS = 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_run_of_inventory_nothing_is_on_offer_that_an_order_read_by_then_needs(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    oversell.prepared(monkeypatch, tmp_path)
    came_to = {}
    for name, send, promise in (
        ("ours", oversell.ours(), oversell.nothing_twice),
        ("copy", oversell.copy, lambda _: []),
    ):
        with found_environment(postgres_url, f"oversell_{name}", tmp_path / name) as environment:
            oversell.open_shop(environment)
            reported = came_to[name] = oversell.run_oversell(environment, seed, ROUNDS, send, promise)
        print(f"\nOVERSELL {seed} {name}: {reported}", end="")
    assert came_to["ours"].broken == []
    assert came_to["ours"].failed
    assert came_to["ours"].oversold < came_to["copy"].oversold
