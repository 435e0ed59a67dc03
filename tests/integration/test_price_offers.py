"""Catalogue, prices and stock together: what both systems hold of the whole catalogue after runs that go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crossdock.watch.reconcile import Outcome, reconcile
from integration.builders import forward, persist, send
from integration.environment import Environment, found_environment

OFFERS = ("catalog", "prices", "catalog", "inventory")  # a listing waits for its product's price
SUBJECTS = ("quantities", "prices", "products")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shops(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Environment]:
    with found_environment(postgres_url, "m_offers", tmp_path_factory.mktemp("environment")) as environment:
        yield environment


def offer(environment: Environment, *faults: str) -> dict[str, int]:
    """Every flow once, each among faults on both systems; how much each has delivered."""
    delivered: dict[str, int] = {}
    for number, flow in enumerate(OFFERS):
        for kind in faults:
            environment.fault("channel_advisor", kind, path="/v2/*", times=2, after=number)
            environment.fault("tims", kind, path="/api/v1/*", times=1, after=number)
        counts = persist(environment, flow, f"{flow}-{number}-{environment.now:%Y%m%dT%H%M}")
        delivered[flow] = delivered.get(flow, 0) + counts.delivered
        environment.clear_faults()
        forward(environment, environment.now + timedelta(minutes=2))
    return delivered


def compare(environment: Environment) -> tuple[Outcome, list[tuple[str, str, str, str | None, str | None]]]:
    """The reconciliation, and what nothing explains."""
    with environment.runtime() as runtime:
        outcome = reconcile(runtime, SUBJECTS)
    rows = environment.query(
        "SELECT subject, key, field, channel_advisor, tims FROM ops.reconcile_difference "
        f"WHERE run = {outcome.id} AND cause = 'unexplained' ORDER BY subject, key LIMIT 20"
    )
    return outcome, [tuple(row) for row in rows]


def test_after_runs_among_faults_products_prices_and_quantities_are_those_that_the_rules_say(
    shops: Environment,
) -> None:
    delivered = offer(shops, "rate_limited", "error_after", "cut_body", "bulk_partial")
    assert all(number > 2_000 for number in delivered.values()), delivered
    outcome, unexplained = compare(shops)
    assert unexplained == []
    roles = list(shops.world.catalogue.roles.values())
    for subject, counts in outcome.counts.items():
        assert counts.equal > 2_400, subject
        assert counts.causes.get("dead letter", 0) == (0 if subject == "prices" else roles.count("ambiguous")), subject
        assert counts.causes.get("waiting", 0) == (0 if subject == "prices" else roles.count("missing")), subject


def test_running_everything_again_sends_nothing(shops: Environment) -> None:
    calls = "SELECT count(*) AS calls FROM ops.delivery"
    before = shops.query(calls)[0].calls
    assert offer(shops) == dict.fromkeys(OFFERS, 0)
    assert shops.query(calls)[0].calls == before


def test_what_somebody_changes_at_the_channel_is_named_and_put_right_by_the_compare(shops: Environment) -> None:
    sku = next(code for code in shops.world.catalogue.spellings.values() if code.isdigit() and code in plain(shops))
    forward(shops, shops.now + timedelta(minutes=2))
    with shops.runtime() as runtime:
        levels = [{"SKU": sku, "DistributionCenterID": 4, "Quantity": 777_777, "UpdateType": "Absolute"}]
        assert runtime.channel_advisor.write_quantities(levels)[0].error is None
        runtime.channel_advisor.update_product(sku, {"Title": "Somebody's title"})
    send(shops, "channel_advisor", "price", {"ProfileID": 12345678, "SKU": sku, "Price": 0.5})
    forward(shops, shops.now + timedelta(minutes=2))
    _, unexplained = compare(shops)
    found = {(subject, field, theirs) for subject, key, field, theirs, _ in unexplained if key == sku.lower()}
    assert found == {
        ("quantities", "quantity", "777777"), ("products", "title", "Somebody's title"), ("prices", "price", "0.5000"),
    }  # fmt: skip
    assert len(unexplained) == 3
    for flow in ("catalog", "prices", "inventory"):
        assert shops.sync(flow=flow, kind="compare").delivered == 1, flow
        forward(shops, shops.now + timedelta(minutes=2))
    assert compare(shops)[1] == []


def plain(environment: Environment) -> set[str]:
    """SKUs that both systems spell alike and that nothing else is special about."""
    catalogue = environment.world.catalogue
    return {spelt for code, spelt in catalogue.spellings.items() if code not in catalogue.roles and spelt == code}
