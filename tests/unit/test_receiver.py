"""What the receiver takes for a delivery: whose, how old, of which form, and about which record."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.receiver import deliveries, sources
from crossdock.receiver.deliveries import Refused
from crossdock.receiver.sources import OpenSource, Secrets
from crossdock.settings import PROJECT
from crossdock.store.webhook_events import Event
from crossdock.systems.times import read as moment

SETTINGS = sources.load()
SECRET, PREVIOUS = "the-present-secret-of-a-subscription", "the-secret-of-the-subscription-before"
# Secret, timestamp, body and signature of the contracts' examples.
VECTORS = {
    "channel_advisor": (
        "sandbox-signing-secret-01",
        "1741944418",
        '{"EventID":"evt_01JPA6Q4","EventType":"OrderPaymentCleared","ProfileID":12345678,"ResourceID":"19918546",'
        '"ResourceURL":"http://localhost:8601/v2/orders/19918546","OccurredAt":"2025-03-14T09:26:53.5893215Z"}',
        "sha256=fcffe832ba4e3182fb5ffa5158ce13ce7d364402be7eeaea6295dfb4f7e7a52a",
    ),
    "tims": (
        "example-secret-of-at-least-32-characters",
        "1775011206",
        '{"EventID":"EV-880017","EventType":"shipment.created","ResourceURL":"https://tims.example.com/api/v1/shipments/'
        'SH-70012","ResourceID":"SH-70012","ModifiedAt":"2026-04-01T02:40:05Z"}',
        "sha256=09dcf643b1988eeae7b7d71d264f95ed9c626a3c9511bea91b83f746156f33bb",
    ),
}
NOW = 1_741_944_418
ORDER = json.loads(VECTORS["channel_advisor"][2])
SHIPMENT = json.loads(VECTORS["tims"][2])


def source(name: str = "channel_advisor", *secrets: str, **changes: Any) -> OpenSource:
    rules = msgspec.structs.replace(SETTINGS.sources[name], **changes)
    return OpenSource(name, rules, Secrets(secrets or (SECRET, PREVIOUS)))


def signed(body: bytes, *, name: str = "channel_advisor", secret: str = SECRET, at: int = NOW, **headers: str) -> list:
    """The headers of a delivery."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    prefix = "x-ca" if name == "channel_advisor" else "x-tims"
    plain = {
        f"{prefix}-signature": f"sha256={digest}",
        f"{prefix}-timestamp": str(at),
        "content-type": "application/json",
    }
    if name == "channel_advisor":
        plain |= {"x-ca-event-id": ORDER["EventID"], "x-ca-event-type": ORDER["EventType"]}
    whole = plain | {each.replace("_", "-"): value for each, value in headers.items()}
    return [(each.encode(), value.encode("latin-1")) for each, value in whole.items()]


def read(
    sent: Any, *, of: OpenSource | None = None, headers: Sequence[Any] | None = None, now: float = NOW, **more: Any
) -> list[Event]:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    of = of or source()
    whole = signed(body, name=of.name, **more) if headers is None else headers
    return deliveries.read(of, whole, body, now=now, age_seconds=SETTINGS.age_seconds)


def status(sent: Any, **more: Any) -> int:
    with pytest.raises(Refused) as refused:
        read(sent, **more)
    return refused.value.status


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_the_example_of_the_contract_is_taken(name: str) -> None:
    secret, timestamp, body, signature = VECTORS[name]
    sent = json.loads(body)
    prefix = "x-ca" if name == "channel_advisor" else "x-tims"
    headers = {f"{prefix}-signature": signature, f"{prefix}-timestamp": timestamp, "content-type": "application/json"}
    headers |= {"x-ca-event-id": sent["EventID"], "x-ca-event-type": sent["EventType"]}
    encoded = [(each.encode(), value.encode()) for each, value in headers.items()]
    (event,) = read(body.encode(), of=source(name, secret), headers=encoded, now=int(timestamp) + 299)
    at = sent.get("OccurredAt") or sent["ModifiedAt"]
    flow = {"channel_advisor": "orders", "tims": "shipments"}[name]
    expected = (name, sent["EventID"], flow, sent["EventType"], sent["ResourceID"], sent.get("ProfileID"), moment(at))
    assert event == expected


def test_one_event_is_a_row_for_each_flow_that_reads_the_record() -> None:
    changed = SHIPMENT | {"EventType": "item.updated", "ResourceID": "LAMP / OAK Ü"}
    found = read(changed, of=source("tims"))
    assert [(event.flow, event.key) for event in found] == [("catalog", "LAMP / OAK Ü"), ("prices", "LAMP / OAK Ü")]
    (unread,) = read(SHIPMENT | {"EventType": "payment.posted"}, of=source("tims"))
    assert (unread.flow, unread.event_type) == ("", "payment.posted")


def test_the_secret_before_is_taken_beside_the_present_one_and_no_other() -> None:
    assert read(ORDER, secret=SECRET) == read(ORDER, secret=PREVIOUS)
    assert status(ORDER, secret="another-secret-that-is-long-enough") == 401
    assert status(ORDER, secret=PREVIOUS, of=source("channel_advisor", SECRET)) == 401


@pytest.mark.parametrize("change", ["", "sha256=", "sha256=00", "upper", "bare", "sha512", "not latin"])
def test_a_forged_signature_is_refused(change: str) -> None:
    body = json.dumps(ORDER).encode()
    valid = dict(signed(body))[b"x-ca-signature"].decode()
    made = {"upper": valid.upper(), "bare": valid.removeprefix("sha256="), "sha512": f"sha512={valid[7:]}",
            "not latin": "sha256=é" + valid[8:]}.get(change, change)  # fmt: skip
    assert status(ORDER, x_ca_signature=made) == 401


@pytest.mark.parametrize("missing", [b"x-ca-signature", b"x-ca-timestamp"])
def test_a_header_of_the_signature_that_is_missing_or_there_twice_is_refused(missing: bytes) -> None:
    body = json.dumps(ORDER).encode()
    headers = signed(body)
    without = [each for each in headers if each[0] != missing]
    twice = headers + [each for each in headers if each[0] == missing]
    assert (status(body, headers=without), status(body, headers=twice)) == (401, 401)


def test_a_body_that_is_not_the_signed_one_is_refused() -> None:
    body = json.dumps(ORDER).encode()
    for other in (body + b" ", body[: len(body) // 2], b"", body.replace(b"19918546", b"19918547")):
        assert status(other, headers=signed(body)) == 401


@pytest.mark.parametrize(("late", "is_taken"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_a_delivery_is_taken_for_five_minutes_after_and_before_its_signing(late: int, is_taken: bool) -> None:
    assert (bool(read(ORDER, now=NOW + late)) if is_taken else status(ORDER, now=NOW + late) == 401) is True


@pytest.mark.parametrize("stamp", ["", "-1", "1e9", "99999999999999999999", "１７４１９４４４１８", " 1741944418"])
def test_a_timestamp_that_is_none_is_refused_although_it_is_signed(stamp: str) -> None:
    body = json.dumps(ORDER).encode()
    raw = stamp.encode()
    digest = hmac.new(SECRET.encode(), raw + b"." + body, hashlib.sha256).hexdigest()
    headers = [(name, value) for name, value in signed(body) if name not in (b"x-ca-signature", b"x-ca-timestamp")]
    headers += [(b"x-ca-signature", f"sha256={digest}".encode()), (b"x-ca-timestamp", raw)]
    assert status(body, headers=headers) == 401


def test_another_content_type_is_refused_and_a_charset_is_not() -> None:
    assert status(ORDER, content_type="text/plain") == 415
    assert status(ORDER, content_type="") == 415
    assert read(ORDER, content_type="Application/JSON; charset=utf-8")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"EventID":NaN}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert status(body) == 400


@pytest.mark.parametrize("wrong", [None, 1.5, True, [], {}, "", "x" * 300, "a\u0000b", "a\nb"])
@pytest.mark.parametrize("field", ["EventID", "EventType", "ResourceID", "ProfileID", "OccurredAt"])
def test_a_field_of_another_type_or_form_is_refused(field: str, wrong: Any) -> None:
    assert status(ORDER | {field: wrong}) == 400
    assert status({name: value for name, value in ORDER.items() if name != field}) == 400


@pytest.mark.parametrize(("field", "wrong"), [("ProfileID", -1), ("ProfileID", 2**63), ("ProfileID", "12345678"),
                                              ("OccurredAt", "2025-03-14"), ("OccurredAt", "2025-02-30T00:00:00Z"),
                                              ("OccurredAt", "9999-12-31T23:59:59-10:00"), ("EventID", 7),
                                              ("ResourceID", "\ud800")])  # fmt: skip
def test_a_value_that_the_database_could_not_hold_is_refused(field: str, wrong: Any) -> None:
    assert status(ORDER | {field: wrong}) == 400


def test_headers_that_name_another_event_than_the_body_are_refused() -> None:
    assert status(ORDER, x_ca_event_id="evt_other") == 400
    assert status(ORDER, x_ca_event_type="OrderCreated") == 400


def test_a_reason_holds_nothing_of_the_body() -> None:
    for sent in (ORDER | {"ProfileID": "ada@example.com"}, {"a": "ada@example.com"}, b'"ada@example.com"'):
        with pytest.raises(Refused) as refused:
            read(sent)
        assert "ada" not in str(refused.value)


def test_fields_that_nobody_knows_are_passed_over() -> None:
    assert read(ORDER | {"NewField": {"deep": [1]}}) == read(ORDER)


# ---- REST v1 ----
@pytest.mark.parametrize(("algorithm", "encoding"), [("sha1", "hex"), ("sha256", "base64"), ("sha512", "base64")])
def test_how_rest_v1_signs_is_a_setting(algorithm: Any, encoding: Any) -> None:
    rules = sources.Signature(header="X-Sign", algorithm=algorithm, encoding=encoding)
    v1 = source("channel_advisor_v1", SECRET, signature=rules)
    body = json.dumps({"ID": 19918546, "ProfileID": 12345678, "BuyerEmailAddress": "ada@example.com"}).encode()
    digest = hmac.new(SECRET.encode(), body, algorithm).digest()
    made = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    headers = [(b"x-sign", made.encode()), (b"content-type", b"application/json")]
    (event,) = read(body, of=v1, headers=headers)
    assert event[:6] == ("channel_advisor", hashlib.sha256(body).hexdigest(), "orders", "", "19918546", 12345678)
    assert status(body, of=v1, headers=[(b"x-sign", b"0" + made.encode()[1:]), headers[1]]) == 401


# ---- settings ----
def test_every_event_that_is_read_is_one_of_its_contract() -> None:
    import yaml

    for name in ("channel_advisor", "tims"):
        text = yaml.safe_load((PROJECT / "include" / "contracts" / f"{name}.yaml").read_text())
        kind = text["components"]["schemas"]["EventType"]
        valid = kind.get("enum") or [each["const"] for each in kind["oneOf"]]
        assert set(SETTINGS.sources[name].events) <= set(valid)


def test_addresses_let_in_their_network_only() -> None:
    some = source("tims", addresses=("203.0.113.0/24", "2001:db8::/32"))
    assert [some.lets_in(each) for each in ("203.0.113.7", "::ffff:203.0.113.7", "2001:db8::1")] == [True] * 3
    assert [some.lets_in(each) for each in ("203.0.114.1", "::1", "", "unix:")] == [False] * 4
    assert source("tims").lets_in("198.51.100.1")
    assert list(msgspec.structs.replace(some.rules, addresses=("203.0.113.7/24",)).problems())


def test_secrets_come_from_the_environment_or_from_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHANNEL_ADVISOR", "TIMS"):
        for variable in (f"CROSSDOCK_WEBHOOK_SECRET_{name}", f"CROSSDOCK_WEBHOOK_SECRET_{name}_PREVIOUS",
                         f"AIRFLOW_CONN_{name}"):  # fmt: skip
            monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match="Nothing can be received") as error:
        sources.open_sources(SETTINGS)
    assert "CROSSDOCK_WEBHOOK_SECRET_TIMS" in error.value.do
    monkeypatch.setenv("CROSSDOCK_WEBHOOK_SECRET_TIMS", SECRET)
    monkeypatch.setenv("CROSSDOCK_WEBHOOK_SECRET_TIMS_PREVIOUS", PREVIOUS)
    assert [(each.name, each.secrets.values) for each in sources.open_sources(SETTINGS)] == [
        ("tims", (SECRET, PREVIOUS))
    ]
    extra = {"webhook_secret": SECRET}
    connection = {"conn_type": "http", "host": "http://127.0.0.1:1", "login": "a", "password": "b", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_CHANNEL_ADVISOR", json.dumps(connection))
    names = [each.name for each in sources.open_sources(SETTINGS)]
    assert names == ["channel_advisor", "tims"]  # of v1 the way to sign is not known
    assert SECRET not in repr(sources.open_sources(SETTINGS))
    monkeypatch.setenv("CROSSDOCK_WEBHOOK_SECRET_TIMS", "short")
    with pytest.raises(ConfigError, match="16 characters") as error:
        sources.open_sources(SETTINGS)
    assert "short" not in str(error.value)


# ---- anything ----
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(body=st.binary(max_size=300), headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60))))
def test_whatever_is_sent_by_a_stranger_is_refused(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    named = [(b"x-ca-signature", value) for _, value in headers[:1]] + headers
    assert status(body, headers=named) == 401


@given(changes=st.dictionaries(st.sampled_from(sorted(ORDER)), ANY_JSON, max_size=3), body=st.none() | st.binary())
def test_whatever_is_signed_is_refused_in_a_known_way_or_fits_the_table(
    changes: dict[str, Any], body: bytes | None
) -> None:
    sent = ORDER | changes
    raw = json.dumps(sent).encode() if body is None else body
    headers = {}
    for header, field in (("x_ca_event_id", "EventID"), ("x_ca_event_type", "EventType")):
        value = sent[field]
        headers[header] = value.encode("ascii", "ignore").decode() if isinstance(value, str) else ""
    taken: list[Event] = []
    with contextlib.suppress(Refused):
        taken = read(raw, **headers)
    for event in taken:
        for text in (event.event_id, event.event_type, event.key):
            assert text
            assert "\0" not in text
            text.encode()
        assert event.profile is not None
        assert 0 <= event.profile < 2**63
