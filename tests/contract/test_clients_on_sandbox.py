"""The two clients against the two sandbox servers, over real sockets: contract on both sides, and every fault."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crossdock.errors import AuthError, BadResponse, OutcomeUnknown, RateLimited, RecordRejected, Transient
from crossdock.systems.channel_advisor import Facade, is_truncated
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.tims import Operation, Tims
from sandbox import world as worlds
from sandbox.control import Control

FAST = Limits(
    requests_per_minute=100_000,
    at_once=5,
    read_seconds=1.5,
    tries=4,
    first_pause_seconds=0.01,
    longest_pause_seconds=1.2,
    failures_to_open=50,
)
SANDBOX = {"channel_advisor": "sandbox.channel_advisor_v1", "tims": "sandbox.tims"}
DAYS = timedelta(days=2)
ORDERS = "/v2/orders"


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Control]]:
    """Both servers in processes of their own, with the reference data and the first days of orders."""
    data = tmp_path_factory.mktemp("sandbox")
    with contextlib.ExitStack() as stack:
        found = {system: stack.enter_context(running(system, module, data)) for system, module in SANDBOX.items()}
        world = worlds.load()
        for system, control in found.items():
            control.set_clock(world.start)
            control.apply(event.as_dict() for event in world.reference_events() if event.system == system)
        end = world.first + DAYS
        for system, control in found.items():
            control.apply(event.as_dict() for event in world.events(world.start, end) if event.system == system)
            control.set_clock(end)
        yield found


@contextlib.contextmanager
def running(system: str, module: str, data: Path) -> Iterator[Control]:
    command = [sys.executable, "-m", module, "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            control = Control(system, next(word.rstrip(",") for word in line.split() if word.startswith("http://")))
            yield control
        finally:
            process.terminate()


@pytest.fixture(autouse=True)
def no_faults(controls: dict[str, Control]) -> Iterator[None]:
    yield
    for control in controls.values():
        control.call("DELETE", "faults")


@pytest.fixture
def ca(controls: dict[str, Control]) -> Iterator[Facade]:
    with Facade(connection(controls, "channel_advisor"), limits=FAST) as client:
        yield client


@pytest.fixture
def tims(controls: dict[str, Control]) -> Iterator[Tims]:
    with Tims(connection(controls, "tims"), limits=FAST) as client:
        yield client


def connection(controls: dict[str, Control], system: str, secret: str = "sandbox-secret", **extra: str) -> Connection:
    return Connection(
        system, controls[system].url, "crossdock-sandbox", secret, {"refresh_token": "sandbox-refresh"} | extra
    )


def fault(controls: dict[str, Control], system: str, kind: str, path: str, **options: Any) -> None:
    controls[system].call("POST", "faults", {"kind": kind, "path": path, **options})


def order_ids(ca: Facade, **window: Any) -> list[str]:
    return [is_truncated(record)[0] for page in ca.pages("orders", limit=20, **window) for record in page.records]


def customer(number: int) -> dict[str, Any]:
    return {
        "ExternalIDs": [{"Source": "ChannelAdvisor", "ID": f"client-test-{number}"}],
        "Name": f"Müller & Söhne {number}",
        "CurrencyCode": "EUR",
    }


def operations(first: int, count: int) -> list[Operation]:
    numbers = range(first, first + count)
    return [Operation(f"op-{n}", "/customers", f"client-test:{n}", customer(n)) for n in numbers]


def found(tims: Tims, first: int, count: int) -> list[str]:
    names = [f"client-test-{n}" for n in range(first, first + count)]
    rows = tims.find("customers", ExternalID=names, Source="ChannelAdvisor")
    return sorted(one["ID"] for row in rows for one in row["ExternalIDs"])


# ---- reading ----


def test_a_window_is_read_whole_and_two_halves_give_the_same_orders(ca: Facade) -> None:
    everything = order_ids(ca)
    assert len(everything) > 50
    assert len(set(everything)) == len(everything)
    middle = moment(next(ca.pages("orders", limit=100)).records[50])
    assert order_ids(ca, before=middle) + order_ids(ca, since=middle) == everything


def moment(record: msgspec.Raw) -> datetime:
    return datetime.fromisoformat(msgspec.json.decode(record)["UpdatedDate"][:19] + "+00:00")


def test_a_cut_order_is_whole_when_it_is_read_alone(ca: Facade) -> None:
    truncated = [key for page in ca.pages("orders") for key, is_short in map(is_truncated, page.records) if is_short]
    assert truncated
    for key in truncated[:3]:
        whole = ca.record("orders", key)
        assert is_truncated(whole) == (key, False)
        assert len(msgspec.json.decode(whole)["OrderItems"]) > 20


def test_every_list_that_orders_need_can_be_read(ca: Facade, tims: Tims) -> None:
    for resource in ("sites", "products", "shipping", "distribution-centers"):
        assert list(ca.pages(resource))
    assert sum(len(page.records) for page in tims.pages("inventory/items")) > 1000
    assert tims.company()["TimeZone"]
    assert ca.server_time().date() == tims.server_time().date()


def test_a_missing_record_is_refused_with_404(ca: Facade, tims: Tims) -> None:
    for call in (lambda: ca.record("orders", "1"), lambda: tims.record("customers", "CU-none")):
        with pytest.raises(RecordRejected) as refused:
            call()
        assert refused.value.status == 404


def test_wrong_credentials_are_one_sentence(controls: dict[str, Control]) -> None:
    with Tims(connection(controls, "tims", "wrong"), limits=FAST) as client, pytest.raises(AuthError, match="password"):
        client.company()
    for wrong in (
        connection(controls, "channel_advisor", "wrong"),
        connection(controls, "channel_advisor", refresh_token="gone"),
    ):
        with Facade(wrong, limits=FAST) as client, pytest.raises(AuthError, match="AIRFLOW_CONN_CHANNEL_ADV"):
            client.server_time()


# ---- reading through faults ----


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "rate_limited", "times": 2, "after": 1},
        {"kind": "rate_limited_bare", "times": 2},
        {"kind": "error_before", "times": 3},
        {"kind": "error_after", "times": 3},
        {"kind": "bad_gateway_html", "times": 2, "after": 1},
        {"kind": "denied_200", "times": 1, "shape": "error"},
        {"kind": "denied_200", "times": 1, "shape": "message", "after": 1},
        {"kind": "denied_200", "times": 1, "shape": "text"},
        {"kind": "expire_token", "times": 1, "after": 1},
        {"kind": "slow", "times": 1, "seconds": 3},
        {"kind": "slow", "times": 1, "seconds": 0.2},
        {"kind": "cut_body", "times": 2, "after": 1},
        {"kind": "truncated_json", "times": 2},
        {"kind": "hang_after", "times": 1, "seconds": 3},
    ],
    ids=lambda rule: rule["kind"],
)
def test_a_fault_that_passes_costs_no_order_and_doubles_none(
    controls: dict[str, Control], ca: Facade, rule: dict[str, Any]
) -> None:
    everything = order_ids(ca)
    controls["channel_advisor"].call("POST", "faults", {"path": ORDERS, **rule})
    assert order_ids(ca) == everything


def test_rows_that_change_while_being_paged_are_missed_by_none(controls: dict[str, Control], ca: Facade) -> None:
    everything = set(order_ids(ca))
    fault(controls, "channel_advisor", "shift_rows", ORDERS, times=3, rows=3)
    assert set(order_ids(ca)) == everything


def test_a_cursor_that_repeats_ends_in_a_bad_response(controls: dict[str, Control], ca: Facade, tims: Tims) -> None:
    fault(controls, "channel_advisor", "repeat_cursor", ORDERS)
    with pytest.raises(BadResponse):
        order_ids(ca)
    fault(controls, "tims", "repeat_cursor", "/api/v1/inventory/items")
    with pytest.raises(BadResponse):
        list(tims.pages("inventory/items", limit=100))


def test_a_fault_that_stays_ends_in_its_own_error(controls: dict[str, Control], ca: Facade) -> None:
    expected = {
        "rate_limited_bare": RateLimited,
        "error_before": Transient,
        "bad_gateway_html": Transient,
        "cut_body": Transient,
        "truncated_json": BadResponse,
        "denied_200": AuthError,
    }
    for kind, error in expected.items():
        fault(controls, "channel_advisor", kind, ORDERS)
        with pytest.raises(error) as raised:
            order_ids(ca)
        assert type(raised.value) is error
        controls["channel_advisor"].call("DELETE", "faults")


def test_a_plain_text_400_at_the_token_endpoint_is_an_auth_error(controls: dict[str, Control], ca: Facade) -> None:
    fault(controls, "channel_advisor", "token_plain_400", "/oauth2/token", times=1)
    with pytest.raises(AuthError, match="refuses to give a token"):
        ca.server_time()


def test_expired_tokens_are_renewed_under_load(controls: dict[str, Control], ca: Facade) -> None:
    everything = order_ids(ca)
    controls["channel_advisor"].call("DELETE", "requests")
    fault(controls, "channel_advisor", "expire_token", ORDERS, times=1, after=5)
    with ThreadPoolExecutor(5) as pool:
        assert all(ids == everything for ids in pool.map(lambda _: order_ids(ca), range(10)))
    requested = controls["channel_advisor"].call("GET", "requests")
    assert sum(count for call, count in requested.items() if call.startswith("POST")) == 1


# ---- writing ----


def test_an_order_is_marked_and_gets_its_number(ca: Facade) -> None:
    key = order_ids(ca)[0]
    ca.mark_exported(key)
    ca.mark_exported(key)
    assert key in order_ids(ca, exported=True)
    assert json.loads(ca.update_order(key, {"SellerOrderID": "SO-1"}))["SellerOrderID"] == "SO-1"


def test_a_status_that_is_not_allowed_is_refused_with_what_is(ca: Facade) -> None:
    key = order_ids(ca, orderStatus=["New"])[0]
    assert json.loads(ca.update_order(key, {"OrderStatus": "Cancelled"}))["OrderStatus"] == "Cancelled"
    with pytest.raises(RecordRejected) as refused:
        ca.update_order(key, {"OrderStatus": "Shipped"})
    assert refused.value.status == 409
    assert "AllowedStatuses" in str(refused.value.body)


def test_a_bulk_creates_each_document_once_whatever_happens_on_the_way(
    controls: dict[str, Control], tims: Tims
) -> None:
    for first, rule in enumerate(
        [
            {"kind": "error_after", "times": 2},
            {"kind": "error_before", "times": 2},
            {"kind": "cut_body", "times": 1},
            {"kind": "truncated_json", "times": 1},
            {"kind": "hang_after", "times": 1, "seconds": 3},
            {"kind": "rate_limited", "times": 1},
            {"kind": "expire_token", "times": 1},
            {"kind": "bad_gateway_html", "times": 2},
        ]
    ):
        controls["tims"].call("POST", "faults", {"path": "/api/v1/bulk", **rule})
        start = 1000 * (first + 1)
        results = tims.bulk(operations(start, 120))
        assert [result.document()["Name"] for result in results] == [customer(start + n)["Name"] for n in range(120)]
        assert found(tims, start, 120) == sorted(f"client-test-{start + n}" for n in range(120))


def test_what_failed_inside_a_bulk_succeeds_under_its_old_keys(controls: dict[str, Control], tims: Tims) -> None:
    for start, effect in ((20_000, False), (21_000, True)):
        fault(controls, "tims", "bulk_partial", "/api/v1/bulk", times=1, every=3, effect=effect)
        batch = operations(start, 30)
        results = tims.bulk(batch)
        failed = [operation for operation, result in zip(batch, results, strict=True) if result.error]
        assert len(failed) == 10
        assert all(type(result.error) is Transient for result in results if result.error)
        assert all(result.status == 201 for result in tims.bulk(failed))
        assert found(tims, start, 30) == sorted(f"client-test-{start + n}" for n in range(30))


def test_a_whole_bulk_that_failed_inside_is_not_replayed_as_failed(controls: dict[str, Control], tims: Tims) -> None:
    fault(controls, "tims", "bulk_partial", "/api/v1/bulk", times=1, every=1)
    batch = operations(22_000, 5)
    assert all(isinstance(result.error, Transient) for result in tims.bulk(batch))
    assert [result.status for result in tims.bulk(batch)] == [201] * 5


def test_a_lost_outcome_is_said_and_the_target_knows_it(controls: dict[str, Control], tims: Tims) -> None:
    fault(controls, "tims", "error_after", "/api/v1/bulk")
    with pytest.raises(OutcomeUnknown):
        tims.bulk(operations(23_000, 3))
    controls["tims"].call("DELETE", "faults")
    assert found(tims, 23_000, 3) == [f"client-test-{n}" for n in (23_000, 23_001, 23_002)]
    assert all(result.replayed for result in tims.bulk(operations(23_000, 3)))


def test_a_duplicate_names_the_document_that_exists(tims: Tims) -> None:
    first = tims.post("customers", customer(24_000), key="client-test:a")
    again = tims.post("customers", customer(24_000), key="client-test:b")
    assert isinstance(again.error, RecordRejected)
    assert again.error.code == "DUPLICATE_EXTERNAL_REFERENCE"
    assert again.error.existing_id == first.document()["CustomerID"]
    replay = tims.post("customers", customer(24_000), key="client-test:a")
    assert replay.replayed
    assert replay.document() == first.document()


def test_a_document_with_errors_comes_back_with_all_of_them(tims: Tims) -> None:
    result = tims.post("customers", {"Name": "", "Colour": "red", "CurrencyCode": "EUR"}, key="client-test:c")
    assert isinstance(result.error, RecordRejected)
    assert len(result.error.refusals) >= 2
    assert any(refusal.field == "/Colour" for refusal in result.error.refusals)


def test_a_change_needs_the_version_that_was_read(tims: Tims) -> None:
    created = tims.post("customers", customer(25_000), key="client-test:d").document()
    path = f"customers/{created['CustomerID']}"
    document, etag = tims.read(path)
    assert document["RowVersion"] == created["RowVersion"]
    changed = tims.patch(path, {"Name": "Nguyễn"}, etag=etag)
    assert changed["Name"] == "Nguyễn"
    with pytest.raises(RecordRejected) as refused:
        tims.patch(path, {"Name": "x"}, etag=etag)
    assert refused.value.code == "STALE_VERSION"


def test_the_limits_of_the_contract_are_kept_by_many_threads(controls: dict[str, Control]) -> None:
    with Tims(connection(controls, "tims"), limits=msgspec.structs.replace(FAST, at_once=10)) as client:
        client.company()
        controls["tims"].call("DELETE", "requests")
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: client.company(), range(200)))
        assert controls["tims"].call("GET", "requests") == {"GET /api/v1/company": 200}
