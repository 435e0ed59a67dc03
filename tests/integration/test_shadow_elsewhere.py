"""Shadow mode by the API v1 of the channel and on an older TIMS: every flow does everything but write, as their servers
see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crossdock import flows
from integration import test_shadow as shadow
from integration.battery import Shop, opened

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["v1", "legacy"])
def shop(request: pytest.FixtureRequest, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    api, legacy = {"v1": ("v1", False), "legacy": ("v2", True)}[request.param]
    with opened(postgres_url, tmp_path_factory, f"shadow_{request.param}", api=api, legacy=legacy) as found:
        yield found


@pytest.mark.parametrize("flow", flows.all_flows())
def test_a_load_in_shadow_mode_makes_no_request_but_reads_and_tokens(shop: Shop, flow: str) -> None:
    try:
        shadow.test_a_load_in_shadow_mode_makes_no_request_but_reads_and_tokens(shop, flow)
    finally:
        shadow.put(flow)
