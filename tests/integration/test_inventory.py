"""The inventory flow, on both systems over HTTP and a real Postgres: the channel offers what is there, less what is
promised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from integration import shelf
from integration.town import Town


@pytest.fixture(scope="module")
def shop(long_lived_town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with pytest.MonkeyPatch.context() as patch:
        shelf.configured(patch, tmp_path_factory.mktemp("offers"))
        long_lived_town.tick(long_lived_town.now + timedelta(days=2, hours=12))
        long_lived_town.sync()
        long_lived_town.sync(flow="inventory")
        yield long_lived_town


@pytest.mark.slow
def test_over_the_whole_catalogue_the_channel_offers_what_the_rule_says(shop: Town):
    assert len(shelf.Truth(shop).offers()) > 2_000
    assert shelf.differences(shop) == []
