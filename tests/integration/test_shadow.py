"""Shadow mode: every flow that is found does everything but write, as the systems themselves see it; what it would have
sent is kept, and goes once the flow is live.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossdock import flows
from crossdock.store.batches import Counts
from crossdock.systems import writes
from integration import stock_oracle
from integration.battery import Shop, made
from integration.builders import forward
from integration.bustle import ALL
from integration.environment import found_environment
from sandbox.control import SYSTEMS

pytestmark = pytest.mark.slow
OWN_BOOK = "settlement_ledger"  # target of the flow that writes to no system


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("environment")
    with (
        found_environment(postgres_url, "shadow", folder, skus=ALL) as environment,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        environment.inbox = tmp_path_factory.mktemp("inbox")
        forward(environment, environment.now + timedelta(days=1, hours=10))
        config = tmp_path_factory.mktemp("config")
        stock_oracle.configure(monkeypatch, config, margin_seconds=0)
        sites = config / "config" / "sites.yaml"
        sites.write_text(sites.read_text().replace("channel: Web Shop\n", "channel: Web Shop\n    prepaid: yes\n"))
        opened = Shop(environment)
        opened.open()
        yield opened


def put(flow: str, **settings: Any) -> None:
    """Writes settings of a flow into flows.yaml; without any, those it had go."""
    file = Path(os.environ["CROSSDOCK_CONFIG_DIR"]) / "flows.yaml"
    whole = yaml.safe_load(file.read_text())
    own = {
        name: value for name, value in (whole.get(flow) or {}).items() if name not in ("mode", "from", "first_day_cap")
    }
    whole[flow] = own | {name.rstrip("_"): value for name, value in settings.items()}
    file.write_text(yaml.safe_dump(whole))


@pytest.fixture
def shadowed(request: pytest.FixtureRequest) -> Iterator[str]:
    """A flow, in shadow mode until the test ends."""
    yield request.param
    put(request.param)


def run(shop: Shop, flow: str, **more: Any) -> Counts:
    """What is new for a flow, with nobody's permission to write but the flow's own."""
    forward(shop.environment, shop.environment.now + timedelta(seconds=10))
    with writes.permitted(writes.nobody):
        return shop.environment.sync(flow=flow, **more)


def requests(shop: Shop) -> dict[str, dict[str, int]]:
    """Requests by system, method and path, as the servers have counted them since the last time."""
    counted = {system: shop.control(system).call("GET", "requests") for system in SYSTEMS}
    for system in SYSTEMS:
        shop.control(system).call("DELETE", "requests")
    return counted


def would_be(shop: Shop, flow: str) -> list[Any]:
    return shop.environment.query(f"SELECT * FROM ops.would_be WHERE flow = '{flow}' ORDER BY first_at, key")


@pytest.mark.parametrize("shadowed", flows.all_flows(), indirect=True)
def test_a_load_in_shadow_mode_makes_no_request_but_reads_and_tokens(shop: Shop, shadowed: str) -> None:
    flow = flows.get(shadowed)
    way = made(shop, shadowed)
    way.make(shop)
    put(shadowed, mode="shadow")
    before = shop.counts()
    delivered_before = shop.environment.query(f"SELECT count(*) AS n FROM ops.delivery WHERE flow = '{shadowed}'")
    requests(shop)
    counts = run(shop, shadowed)
    for counted in requests(shop).values():
        assert [what for what in counted if not what.startswith("GET ") and what != "POST /oauth2/token"] == []
    if flow.target == OWN_BOOK:  # it writes to our own book, and to no system
        assert counts.delivered >= 1
        return
    assert shop.counts() == before
    assert (counts.delivered, counts.dead, counts.in_flight) == (0, 0, 0), shop.why(shadowed)
    assert counts.would_be >= 1, shop.why(shadowed)
    rows = would_be(shop, shadowed)
    assert len(rows) >= counts.would_be
    assert all(row.method in ("POST", "PUT", "PATCH") and row.path.startswith("/") and row.body for row in rows)
    assert delivered_before == shop.environment.query(
        f"SELECT count(*) AS n FROM ops.delivery WHERE flow = '{shadowed}'"
    )

    again = run(shop, shadowed)  # what would be made is not worked again and again
    assert (again.read - again.unchanged, len(would_be(shop, shadowed))) == (0, len(rows))

    put(shadowed)
    live = run(shop, shadowed)
    assert live.delivered >= counts.would_be, shop.why(shadowed)
    assert would_be(shop, shadowed) == []
    assert run(shop, shadowed).delivered == 0
