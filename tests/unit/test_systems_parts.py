"""The pure parts of the clients: times, redaction, limits, pauses, cut orders, failures, budgets of one process."""

from __future__ import annotations

import json
import string
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock import errors
from crossdock.errors import BadResponse, CircuitOpen, ConfigError, RateLimited
from crossdock.systems import breaker as breakers
from crossdock.systems import budget as budgets
from crossdock.systems import failures, limits, times
from crossdock.systems import http as https
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor import is_truncated
from crossdock.systems.connections import Connection
from crossdock.systems.http import Tokens, TooMany, retry_after
from crossdock.systems.limits import Limits
from crossdock.systems.redaction import clean

# ---- times ----


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-03-14T09:26:17Z", datetime(2025, 3, 14, 9, 26, 17, tzinfo=UTC)),
        ("2025-03-14T09:26:17.8Z", datetime(2025, 3, 14, 9, 26, 17, 800_000, UTC)),
        ("2025-03-14T09:26:17.9999999Z", datetime(2025, 3, 14, 9, 26, 17, 999_999, UTC)),
        ("2025-03-14T00:26:17.123+01:00", datetime(2025, 3, 13, 23, 26, 17, 123_000, UTC)),
    ],
)
def test_a_timestamp_is_cut_to_microseconds_and_never_rounded_up(text: str, moment: datetime) -> None:
    assert times.read(text) == moment


@pytest.mark.parametrize("text", ["", "2025-03-14", "2025-03-14T09:26:17", "2025-13-14T09:26:17Z", "yesterday", "1e9"])
def test_what_has_no_zone_or_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        times.read(text)


@given(
    st.datetimes(
        min_value=datetime(1, 1, 3),
        max_value=datetime(2999, 12, 30),
        timezones=st.just(timezone(timedelta(hours=2))),
    )
)
def test_a_time_that_is_written_is_read_back_as_it_was(moment: datetime) -> None:
    assert times.read(times.write(moment)) == moment
    assert times.write(moment).endswith("Z")


def test_a_time_without_a_zone_is_not_sent() -> None:
    with pytest.raises(ValueError, match="zone"):
        times.write(datetime(2025, 1, 1))


# ---- redaction ----

SECRETS = ("geheim-123", "anna@example.com", "Anna Müller", "Hauptstr. 5")


@pytest.mark.parametrize(
    "value",
    [
        "https://id:geheim-123@host/v2/orders?access_token=geheim-123&limit=5",
        "GET /api/v1/customers?Email=anna@example.com&Cursor=geheim-123",
        "?refresh_token=geheim-123",
        "Authorization: Bearer geheim-123",
        "authorization=Basic geheim-123",
        '{"access_token": "geheim-123", "expires_in": 3600}',
        '{"BuyerEmail": "anna@example.com", "Name" : "Anna Müller", "Line1":"Hauptstr. 5',
        {"Authorization": "Bearer geheim-123", "Cookie": "a=geheim-123", "Accept": "application/json"},
        {"ShippingAddress": {"Name": "Anna Müller", "Line1": "Hauptstr. 5"}, "Items": [{"GiftMessage": "geheim-123"}]},
        b'{"client_secret": "geheim-123", "x": [{"Phone": "geheim-123"}]}',
        b'{"cut": {"password": "geheim-123',
        "No customer has the e-mail anna@example.com.",
        ["Bearer geheim-123"],
    ],
)
def test_no_secret_and_no_persons_data_survives(value: object) -> None:
    cleaned = json.dumps(clean(value), ensure_ascii=False)
    assert not any(secret in cleaned for secret in SECRETS)
    assert "***" in cleaned


def test_what_is_harmless_is_kept_as_it_was() -> None:
    text = "GET /v2/orders?limit=5&updatedSince=2025-03-14T09:00:00Z answered 503"
    assert clean(text) == text
    assert clean({"ChannelAdvisorOrderID": 7, "SKU": "A/1", "Total": None}) == {
        "ChannelAdvisorOrderID": 7,
        "SKU": "A/1",
        "Total": None,
    }
    assert clean(b'{"code":"UNKNOWN_SKU","status":422}') == '{"code":"UNKNOWN_SKU","status":422}'


def test_a_long_body_is_cut() -> None:
    assert len(clean("x" * 1_000_000)) < 2_100


@given(
    st.text(string.ascii_letters + string.digits, min_size=8),
    st.sampled_from(["access_token", "password", "X-Signature"]),
)
def test_a_value_under_a_secret_name_never_comes_through(value: str, name: str) -> None:
    for shape in (
        f"https://h/p?a=1&{name}={value}#x",
        {name: value},
        json.dumps({name: value}),
        [{"in": {name: value}}],
    ):
        assert value not in str(clean(shape)).replace(name, "")


# ---- limits ----


def test_the_limits_in_the_project_stay_within_those_of_the_contracts() -> None:
    channel_advisor, tims = limits.load("channel_advisor"), limits.load("tims")
    assert channel_advisor.requests_per_minute <= 2000
    assert channel_advisor.at_once < 5  # an answer just received may still count there
    assert tims.requests_per_minute <= 600
    assert tims.at_once < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tims: {requests_per_minit: 5}", "'requests_per_minit'; did you mean 'requests_per_minute'"),
        ("tims: {at_once: many}", "systems.yaml:1: tims.at_once is 'many'; write a whole number"),
        ("other: {}", "does not say its `tims`"),
    ],
)
def test_a_wrong_systems_file_names_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path))
    (tmp_path / "systems.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        limits.load("tims")


def test_a_connection_overrides_its_time_outs() -> None:
    def of(**extra: object) -> Limits:
        return limits.of(Connection("tims", "https://x", "a", "b", extra))

    assert of(read_seconds="5.5").read_seconds == 5.5
    assert of().read_seconds == 60
    with pytest.raises(ConfigError, match="time-out"):
        of(read_seconds="soon")


# ---- Retry-After ----


def test_retry_after_is_read_in_both_forms_and_kept_within_bounds() -> None:
    sent = datetime(2011, 1, 4, 10, tzinfo=UTC)
    date, later, earlier = (format_datetime(sent + timedelta(seconds=s), usegmt=True) for s in (0, 7, -7))
    assert retry_after({"Retry-After": "12"}, 60) == 12
    assert retry_after({"Retry-After": "600"}, 60) == 60
    assert retry_after({"Retry-After": "-3"}, 60) == 0
    assert retry_after({"Retry-After": later, "Date": date}, 60) == 7
    assert retry_after({"Retry-After": earlier, "Date": date}, 60) == 0
    assert retry_after({"Retry-After": later}, 60) == 0  # long ago by this machine's clock
    for useless in ("", "soon", "nan", "Mon, 99 Foo"):
        assert retry_after({"Retry-After": useless}, 60) is None
    assert retry_after({}, 60) is None


# ---- cut orders ----


@pytest.mark.parametrize(
    ("count", "given_lines", "truncated"),
    [
        (20, 20, False),
        (21, 20, True),
        (0, 0, False),
        (3, 1, True),
        (None, 20, True),
        (None, 19, False),
        (5, None, True),
    ],
)
def test_an_order_is_cut_when_it_counts_more_lines_than_it_brings(
    count: int | None, given_lines: int | None, truncated: bool
) -> None:
    lines = None if given_lines is None else [{"SKU": "x", "UnitPrice": 1.5}] * given_lines
    order = {"ChannelAdvisorOrderID": 19918546, "OrderItemCount": count, "OrderItems": lines, "Other": {"a": [1]}}
    assert is_truncated(msgspec.Raw(json.dumps(order).encode())) == ("19918546", truncated)


@pytest.mark.parametrize("raw", [b"{}", b"[]", b'{"ChannelAdvisorOrderID": null}', b'{"ChannelAdvisorOrderID": 1'])
def test_an_order_without_an_id_breaks_the_contract(raw: bytes) -> None:
    with pytest.raises(BadResponse, match="cannot be told from others"):
        is_truncated(raw)


# ---- the table of failures ----


def test_every_row_makes_its_error_in_two_full_sentences() -> None:
    connection = Connection("tims", "https://tims.example.com", "id", "geheim-123", {})
    for row, failure in failures.TABLE.items():
        error = failures.make(row, connection, "GET /api/v1/customers", status=418, detail="why")
        assert type(error) is failure.error
        assert error.message.endswith(".")
        assert error.do.endswith(".")
        assert "{" not in str(error)
        assert error.system == "tims"


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_has_a_row(status: int) -> None:
    row = failures.by_status(status)
    expected = {3: BadResponse, 4: errors.RecordRejected, 5: errors.Transient}[status // 100]
    special = {401: errors.AuthError, 403: errors.AuthError, 408: errors.Transient, 429: RateLimited}
    assert failures.TABLE[row].error is special.get(status, expected)


def test_only_failures_that_pass_are_tried_again() -> None:
    again = {row for row, failure in failures.TABLE.items() if failure.again}
    assert all(issubclass(failures.TABLE[row].error, (errors.Transient, BadResponse)) for row in again)


# ---- tokens ----


def test_a_token_is_renewed_before_it_ends_and_only_once_for_many_threads() -> None:
    token_lives = iter([0.2, 3600.0, 3600.0])
    requested: list[float] = []

    def ask() -> tuple[str, float]:
        requested.append(time.monotonic())
        time.sleep(0.02)
        return f"t{len(requested)}", next(token_lives)

    tokens = Tokens(ask)
    assert [tokens.get(), tokens.get()] == ["t1", "t1"]
    time.sleep(0.12)  # half of its short life is over
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(tokens.get())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["t2"] * 10
    tokens.refused("t1")  # somebody's late news
    assert tokens.get() == "t2"


# ---- budget and circuit in one process ----


def test_no_minute_holds_more_requests_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget("tims", limits=Limits(requests_per_minute=100, at_once=5))
    moments = []
    for _ in range(450):
        with budget.slot(wait=1e9):
            moments.append(clock.now)
        clock.now += 0.05
    for first, moment in enumerate(moments):
        assert sum(moment <= other < moment + 60 for other in moments[first:]) <= 100
    assert moments[-1] - moments[0] < 5 * 63


def test_a_batch_counts_as_the_requests_in_it_from_the_moment_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget("channel_advisor", limits=Limits(requests_per_minute=100, at_once=5))
    sent: list[tuple[float, int]] = []
    for number in range(120):
        cost = 31 if number % 4 == 0 else 1
        with budget.slot(wait=1e9, cost=cost):
            sent.append((clock.now, cost))
        clock.now += 0.05
    for moment, _ in sent:
        assert sum(cost for other, cost in sent if moment <= other < moment + 60) <= 100
    assert sum(cost for _, cost in sent) / (clock.now - sent[0][0]) > 100 / 80  # most of what there is


def test_a_batch_that_the_minute_has_no_room_for_leaves_the_room_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget("channel_advisor", limits=Limits(requests_per_minute=40, at_once=5))
    for _ in range(20):
        assert spend(budget, 1) == 1
        clock.now += 0.01
    with pytest.raises(RateLimited), budget.slot(wait=5, cost=30):
        pass
    assert spend(budget, 40) == 20


def test_refusals_that_name_no_time_make_the_pauses_grow_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    too_many, pauses = TooMany(Limits()), []
    for _ in range(5):
        pauses.append(too_many.pause())
        clock.now += 1
        assert too_many.pause() == pytest.approx(pauses[-1] - 1)  # refused within it: no longer pause
        clock.now += pauses[-1]
    assert pauses == [2, 6, 18, 54, 60]
    too_many.over()
    assert too_many.pause() == 2


def test_a_budget_that_is_used_up_says_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    budget = Budget("tims", limits=Limits(requests_per_minute=3, at_once=5))
    for _ in range(3):
        with budget.slot(wait=0):
            pass
    with pytest.raises(RateLimited) as raised, budget.slot(wait=30):
        pass
    assert 60 <= (raised.value.retry_after or 0) <= budgets.WINDOW_SECONDS
    assert "requests_per_minute" in raised.value.do


def test_who_asks_for_much_leaves_a_part_of_the_minute_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget("channel_advisor", limits=Limits(requests_per_minute=100, at_once=5, bulk_share=0.4))
    with budget.low_priority():
        bits = []
        for _ in range(8):  # not a whole minute: what was taken first is still counted
            bits.append(spend(budget, 100))
            clock.now += budgets.PACE_SECONDS
    assert bits == [4] * 8
    assert spend(budget, 100) == 100 - 8 * 4
    with budget.low_priority():
        assert spend(budget, 100) == 0


def test_a_bulk_alone_gets_its_whole_share_of_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    started, ledger, taken = clock.now, budgets.MemoryLedger(2_000, 0.8), 0
    while clock.now < started + 10 * budgets.WINDOW_SECONDS:
        grant = ledger.lease(20, low_priority=True)
        taken += grant.tokens
        clock.sleep(0 if grant.tokens else grant.wait)
    assert 0.95 <= taken / (10 * 1_600) <= 1.05


def test_a_bulk_too_waits_out_a_pause_that_the_system_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    ledger = budgets.MemoryLedger(100, 0.5)
    ledger.pause(30)
    assert ledger.lease(1, low_priority=True).wait == 30


@pytest.mark.parametrize(("others", "low_priority"), [(0, 75), (30, 45), (60, 15), (90, 10), (96, 4), (100, 0)])
def test_a_bulk_makes_room_for_those_who_ask_for_much_but_always_gets_on(
    monkeypatch: pytest.MonkeyPatch, others: int, low_priority: int
) -> None:
    Clock(monkeypatch)
    monkeypatch.setattr(budgets, "BULK_PACE", 1.0)
    ledger = budgets.MemoryLedger(100, 0.75)
    assert ledger.lease(others).tokens == others
    assert ledger.lease(100, low_priority=True).tokens == low_priority
    assert ledger.lease(100, low_priority=True).tokens == 0


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="bulk_share of tims"):
        Budget("tims", limits=Limits(bulk_share=share))


def test_the_systems_own_count_lowers_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    budget = Budget("tims", limits=Limits(requests_per_minute=100, at_once=5))
    with budget.slot():
        pass
    budget.remaining(4, 100)  # somebody else has used the same account
    assert spend(budget, 20) <= 4


def test_a_pause_stops_even_tokens_that_were_leased_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    budget = Budget("tims", limits=Limits(requests_per_minute=1000, at_once=5))
    for _ in range(5):
        with budget.slot():
            pass
    before = clock.now
    budget.paused(12)
    with budget.slot():
        pass
    assert clock.now - before >= 12


def test_a_place_comes_back_when_its_request_fails() -> None:
    budget = Budget("tims", limits=Limits(at_once=1))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.slot(wait=0.1):
            raise ZeroDivisionError
    with budget.slot(wait=0.1), pytest.raises(RateLimited), budget.slot(wait=0.01):
        pass


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        Budget("tims", limits=Limits(requests_per_minute=0))


def test_an_open_circuit_lets_exactly_one_trial_through(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    breaker = Breaker("tims", limits=Limits(failures_to_open=2, open_seconds=30))
    breaker.before()
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    breaker.before()  # one failure in a row
    breaker.failed()
    with pytest.raises(CircuitOpen, match="failed 2 times in a row") as raised:
        breaker.before()
    assert raised.value.retry_after == pytest.approx(30, abs=1)
    clock.now += 30
    breaker.before()  # the trial
    with pytest.raises(CircuitOpen):
        breaker.before()
    breaker.failed()
    with pytest.raises(CircuitOpen):
        breaker.before()
    clock.now += 30
    breaker.before()
    breaker.succeeded()
    breaker.before()


def test_a_trial_that_nobody_finished_is_given_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    breaker = Breaker("tims", limits=Limits(failures_to_open=1, open_seconds=30))
    breaker.failed()
    clock.now += 31
    breaker.before()
    clock.now += 31
    breaker.before()


def spend(budget: Budget, most: int) -> int:
    """How many requests the budget lets through without a wait."""
    for done in range(most):
        try:
            with budget.slot(wait=1):
                pass
        except RateLimited:
            return done
    return most


class Clock:
    """A clock that only sleeping and the test move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        for module in (budgets, breakers, https):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
