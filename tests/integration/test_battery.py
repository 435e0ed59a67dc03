"""The battery: every flow that is found stands it, by a record that `made/` makes.

Once is enough, and nothing echoes; a backfill does what the run in time would have done; a run that dies between
request and answer, and an answer that is lost, leave one effect; a refusal is a dead letter with advice that goes
through by replay; what waits is woken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest

from crossdock import flows
from crossdock.settings import PROJECT
from integration.battery import Shop, made, opened
from integration.builders import persist

pytestmark = pytest.mark.slow
_runs = count(1)


@pytest.fixture(scope="module", params=["v2", "v1"])
def api(request: pytest.FixtureRequest) -> str:
    """The API of the channel. By v1 only flows that read from the channel or write to it stand the battery again."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _of_the_channel(api: str, request: pytest.FixtureRequest) -> None:
    flow = flows.get(request.getfixturevalue("flow"))
    if api == "v1" and "channel_advisor" not in (flow.source.system, flow.target):
        pytest.skip("It does not speak to the channel.")


@pytest.fixture(scope="module")
def shop(api: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(postgres_url, tmp_path_factory, f"battery_{api}", api=api) as found:
        yield found


@pytest.mark.parametrize("flow", flows.all_flows())
def test_once_is_enough_and_nothing_echoes(shop: Shop, flow: str) -> None:
    made(shop, flow).make(shop)
    assert shop.run(flow) >= 1, shop.why(flow)
    after = shop.held()
    assert shop.run(flow) == 0
    if flow != "orders":  # what was written to the channel's orders comes back to their own flow
        assert shop.run("orders") == 0
    assert shop.backfill(flow, reprocess=True).delivered == 0
    assert shop.held() == after


@pytest.mark.parametrize("flow", flows.all_flows())
def test_a_death_after_the_request_and_answers_that_are_lost_leave_one_effect(shop: Shop, flow: str) -> None:
    way, added = made(shop, flow), []
    for among_faults in (False, True):
        way.make(shop)
        before, run_id = shop.counts(), f"battery-{next(_runs)}"
        if not among_faults:
            delivered = shop.run(flow)
        elif whole := shop.killed(flow, run_id):
            assert not way.refusable
            delivered = whole.delivered
        else:
            with shop.failing("error_after", times=1):
                delivered = persist(shop.environment, flow, run_id).delivered
            delivered += shop.run(flow)  # what is not decided when a run ends, the next one takes over
            assert shop.run(flow) == 0
        added.append((delivered, shop.counts() - before))
    (plain, documents), (delivered, among) = added
    assert plain >= 1, shop.why(flow)
    rows = delivered or plain  # what a flow finds at the target after all is unchanged, and not delivered
    assert {kind: number * plain for kind, number in among.items()} == {
        kind: number * rows for kind, number in documents.items()
    }
    open_ = f"SELECT 1 FROM ops.delivery WHERE flow = '{flow}' AND outcome IN ('sent', 'unknown')"
    assert shop.environment.query(open_) == []


@pytest.mark.parametrize("flow", flows.all_flows())
def test_what_is_refused_is_a_dead_letter_with_advice_and_goes_through_by_replay(shop: Shop, flow: str) -> None:
    way = made(shop, flow)
    way.make(shop)
    before = shop.counts()
    with shop.failing("refused"):
        # A run over a window of the past works what is new as a run in time does.
        counts = shop.backfill(flow) if way.backfills else shop.environment.sync(flow=flow)
    if not way.refusable:
        assert (counts.dead, counts.delivered >= 1) == (0, True)
        return
    letters = shop.letters(flow)
    assert len(letters) == counts.dead >= 1
    assert (counts.delivered, shop.counts() - before) == (0, Counter())
    for letter in letters:
        assert letter.step in ("load", "confirm")
        assert all(reason["says"] and reason["do"] for reason in letter.reasons)
    assert shop.run(flow) == 0
    keys = [letter.key for letter in letters]
    assert shop.run(flow, kind="replay", keys=keys) == len(keys)
    assert shop.letters(flow) == []


@pytest.mark.parametrize("flow", [name for name, flow in flows.all_flows().items() if flow.requeue])
def test_what_waits_is_woken_when_its_parent_is_there(shop: Shop, flow: str) -> None:
    way = made(shop, flow)
    if not way.parent:
        assert (PROJECT / "tests" / "integration" / way.waits).is_file(), (
            "say `parent`, or which test shows the waiting"
        )
        return
    way.make(shop)
    counts = shop.read_without(flow, way.parent)
    assert (counts.delivered, counts.dead, counts.waiting >= 1) == (0, 0, True)
    assert shop.run(flow) == counts.waiting
