"""Time lines: causes first, whatever the clocks say; by time where they agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crossdock.services.timeline import Event, arranged

NOW = datetime(2026, 11, 29, 21, tzinfo=UTC)
THEN = datetime(2011, 1, 5, 8, tzinfo=UTC)  # by the clock of the other system
ORIGINS = {"SO": ["7"], "SH": ["SO"], "INV": ["SO", "SH"], "CM": ["INV", "R"], "R": ["7"]}
FAR = frozenset({"tims", "channel_advisor"})


def ours(minute: float, title: str, what: str = "sent", **more: str) -> Event:
    return Event(NOW + timedelta(minutes=minute), what, title, **more)


def document(minute: float, number: str, clock: str = "tims", begin: datetime = THEN) -> Event:
    return Event(begin + timedelta(minutes=minute), "document", number, anchor=number, clock=clock)


def life(stated: dict[str, float], begin: datetime) -> list[Event]:
    channel = {"7", "R"}
    return [
        ours(0, "order received", "received", key="7"), ours(1, "create", key="7", makes="SO"),
        ours(5, "shipment received", "received", key="SH"), ours(6, "invoice", key="SH", makes="INV"),
        ours(9, "return received", "received", key="R"), ours(10, "credit", key="R", makes="CM"),
        ours(12, "order received again", "received", key="7"), ours(13, "told", key="SO"),
        *(document(minute, number, "channel_advisor" if number in channel else "tims", begin)
          for number, minute in stated.items()),
    ]  # fmt: skip


STATED = st.fixed_dictionaries({number: st.floats(-600, 600) for number in ("7", "SO", "SH", "INV", "R", "CM")})


@given(STATED, st.booleans(), st.randoms())
def test_no_document_stands_before_the_one_it_comes_from(stated: dict[str, float], far: bool, random: object) -> None:
    events = life(stated, THEN if far else NOW)
    random.shuffle(events)  # type: ignore[attr-defined]
    titles = [event.title for event in arranged(events, FAR if far else frozenset(), ORIGINS)]
    assert sorted(titles) == sorted(event.title for event in events)
    for number, origins in ORIGINS.items():
        for origin in origins:
            assert titles.index(origin) < titles.index(number), titles
    for cause, effect in (("create", "SO"), ("SH", "shipment received"), ("invoice", "INV"), ("7", "order received")):
        assert titles.index(cause) < titles.index(effect), titles
    if far:
        own = [event.at for event in arranged(events, FAR, ORIGINS) if event.clock == "crossdock"]
        assert own == sorted(own)


def test_documents_of_a_far_clock_stand_where_they_were_made_or_seen() -> None:
    events = life({"7": 0, "SO": 1, "SH": 900, "INV": 901, "R": 5_000, "CM": 5_001}, THEN)
    assert [event.title for event in arranged(events, FAR, ORIGINS)] == [
        "7", "order received", "create", "SO", "SH", "shipment received", "invoice", "INV", "R", "return received",
        "credit", "CM", "order received again", "told",
    ]  # fmt: skip


def test_a_document_that_nobody_has_seen_stands_behind_its_origin() -> None:
    events = [document(0, "SO"), ours(0, "create", key="7", makes="SO"), document(-9, "SH"), ours(3, "later")]
    assert [event.title for event in arranged(events, FAR, ORIGINS)] == ["create", "SO", "SH", "later"]


def test_clocks_that_agree_are_held_against_each_other() -> None:
    events = [ours(5, "received", "received", key="SH"), document(2, "SH", begin=NOW), ours(1, "a"), ours(3, "b")]
    assert [event.title for event in arranged(events)] == ["a", "SH", "b", "received"]


def test_numbers_that_name_each_other_do_no_harm() -> None:
    events = [document(1, "A"), document(0, "B")]
    assert [event.title for event in arranged(events, frozenset(), {"A": ["B"], "B": ["A"]})] == ["B", "A"]


def test_a_moment_of_another_place_stands_where_it_is_known_from_elsewhere() -> None:
    events = [ours(0, "customer made"), document(0, "SO")]
    seen = {"SO": NOW + timedelta(minutes=4)}
    assert [event.title for event in arranged(events, FAR, {}, seen)] == ["customer made", "SO"]
