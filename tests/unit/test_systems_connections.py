"""Connections as Airflow writes them."""

from __future__ import annotations

import json

import pytest

from crossdock.errors import ConfigError
from crossdock.systems.connections import from_environment, parse

SECRET = "p@ss/w:rd?#%"  # every character that a URI treats apart


def as_json(**fields: object) -> str:
    return json.dumps({"conn_type": "http", "login": "id-1", "password": SECRET, **fields})


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        (as_json(host="https://api.example.com"), "https://api.example.com"),
        (as_json(host="https://api.example.com/base/"), "https://api.example.com/base"),
        (as_json(host="http://localhost:8602"), "http://localhost:8602"),
        (as_json(host="http://127.0.0.9:8602/"), "http://127.0.0.9:8602"),
        (as_json(host="http://[::1]:8602"), "http://[::1]:8602"),
        (as_json(host="api.example.com"), "https://api.example.com"),
        (as_json(host="api.example.com", schema="https", port=8443), "https://api.example.com:8443"),
        (as_json(host="localhost", schema="http", port="8602"), "http://localhost:8602"),
        ("http://id-1:p%40ss%2Fw%3Ard%3F%23%25@localhost:8602", "http://localhost:8602"),
        ("http://id-1:p%40ss%2Fw%3Ard%3F%23%25@api.example.com/https", "https://api.example.com"),
        ("https://id-1:p%40ss%2Fw%3Ard%3F%23%25@api.example.com:8443", "https://api.example.com:8443"),
        ("http://https://id-1:p%40ss%2Fw%3Ard%3F%23%25@api.example.com:8443", "https://api.example.com:8443"),
        ("http://id-1:p%40ss%2Fw%3Ard%3F%23%25@https%3A%2F%2Fapi.example.com", "https://api.example.com"),
    ],
)
def test_every_form_that_airflow_reads_gives_the_same_connection(text: str, base_url: str) -> None:
    connection = parse("tims", text)
    assert (connection.base_url, connection.login, connection.secret) == (base_url, "id-1", SECRET)


@pytest.mark.parametrize(
    "text",
    [
        as_json(host="https://x.example", extra={"refresh_token": "r-1"}),
        as_json(host="https://x.example", extra='{"refresh_token": "r-1"}'),
        "https://id-1:p@x.example?refresh_token=r-1",
        "https://id-1:p@x.example/?__extra__=%7B%22refresh_token%22%3A%20%22r-1%22%7D",
    ],
)
def test_the_extra_is_read_from_every_form(text: str) -> None:
    assert parse("channel_advisor", text).extra == {"refresh_token": "r-1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (as_json(host="http://api.example.com"), "in the clear"),
        (as_json(host="http://127.0.0.1.example.com"), "in the clear"),
        (as_json(host="http://10.0.0.1"), "in the clear"),
        (as_json(host="http://localhost.example.com"), "in the clear"),
        (as_json(host=""), "no host"),
        (as_json(), "no host"),
        (as_json(host="ftp://x.example"), "not an address"),
        (as_json(host="https://"), "not an address"),
        (as_json(host="https://a:b@x.example"), "more than scheme"),
        (as_json(host="https://x.example?a=b"), "more than scheme"),
        (as_json(host="https://x.example:port"), "cannot be read"),
        (as_json(host="https://x.example", port="many"), "cannot be read"),
        (as_json(host="https://x.example", login=""), "no login"),
        (as_json(host="https://x.example", password=None), "no password"),
        (as_json(host="https://x.example", extra="[1]"), "extra that is not"),
        (as_json(host="https://x.example", extra="{"), "extra that is not"),
        (as_json(hots="https://x.example"), "does not know (hots)"),
        ('{"host": ', "neither"),
        ("[1]", "neither"),
        ("localhost", "neither"),
        ("http://[::1", "neither"),
    ],
)
def test_a_broken_connection_is_said_in_one_sentence_without_its_secret(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse("tims", text)
    assert message in raised.value.message
    assert raised.value.message.startswith("The connection tims ")
    assert "AIRFLOW_CONN_TIMS" in raised.value.do
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_the_environment_is_where_airflow_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CHANNEL_ADVISOR", as_json(host="https://x.example"))
    assert from_environment("channel_advisor").base_url == "https://x.example"
    monkeypatch.setenv("AIRFLOW_CONN_CHANNEL_ADVISOR", "  ")
    with pytest.raises(ConfigError, match="AIRFLOW_CONN_CHANNEL_ADVISOR is not set"):
        from_environment("channel_advisor")


def test_a_secret_is_in_no_repr() -> None:
    connection = parse("tims", as_json(host="https://x.example", extra={"refresh_token": "r-1"}))
    assert SECRET not in repr(connection)
    assert "r-1" not in repr(connection)
