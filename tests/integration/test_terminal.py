"""What every command prints of hostile records: as text, whole, and within 80 columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock import cli, flows
from crossdock.errors import ConfigError
from crossdock.runtime import Runtime
from crossdock.store.tables import (
    ops_alert,
    ops_approval,
    ops_batch,
    ops_conflict,
    ops_customer_change,
    ops_dead_letter,
    ops_orphan,
    ops_watermark,
)
from integration.environment import fresh_database
from unit.test_safe import acts

HOSTILE = "[/x]orphan[bold]:bomb:\x1b[2J\x1b]0;owned\x07gpj.\u202eexe\x9b\x7f"
SHOWN = "[/x]orphan[bold]:bomb:\\x1b[2J\\x1b]0;owned\\x07gpj.\\u202eexe\\x9b\\x7f"
MOMENT = "2011-01-07 00:00"


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "terminal") as url:
        letter = {
            "flow": "orders", "entity": "sales_order", "key": HOSTILE, "batch_id": 1, "step": "check",
            "reasons": [{"rule": "r"} | dict.fromkeys(("field", "value", "line", "says", "do"), HOSTILE)],
            "payload": {"SKU": HOSTILE}, "version": MOMENT,
        }  # fmt: skip
        change = {
            "customer_id": HOSTILE, "field": "Email", "order_key": HOSTILE, "ordered_at": MOMENT, "outcome": "changed",
            "row_version": 1, "error": HOSTILE, "batch_id": 1, "at": MOMENT, "old_value": HOSTILE,
            "new_value": [HOSTILE],
        }  # fmt: skip
        approval = {
            "flow": "prices", "key": HOSTILE, "target": HOSTILE, "site_id": 0, "from_price": 1, "to_price": 2,
            "cost": 1, "currency_code": "USD", "why": f"{HOSTILE} is above 30 %",
        }  # fmt: skip
        conflict = {
            "flow": "catalog", "key": HOSTILE, "target_key": HOSTILE, "field": "Title", "theirs": HOSTILE, "ours": "x",
        }  # fmt: skip
        counts = {"read": 1500, "in_flight": 1500}
        batch = {"flow": "orders", "kind": "scheduled", "run_id": HOSTILE, "step": "check", **counts}
        mark = {"flow": "orders", "resource": "channel_advisor.orders", "position": MOMENT, "read_at": MOMENT}
        with Runtime(url) as runtime, runtime.engine.begin() as connection:
            for table, row in (
                (ops_orphan, {"product_sku": HOSTILE, "nearest": [HOSTILE]}),
                (ops_conflict, conflict),
                (ops_dead_letter, letter),
                (ops_alert, {"kind": "k", "key": "k", "severity": "alert", "title": HOSTILE, "body": HOSTILE}),
                (ops_customer_change, change),
                (ops_approval, approval),
                (ops_batch, batch),
                (ops_watermark, mark),
            ):
                connection.execute(sa.insert(table).values(row))
        yield url


@pytest.fixture
def output(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """What a command prints in a terminal of 80 columns."""
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", database)
    for console in (cli.out, cli.err):
        monkeypatch.setattr(console, "_width", 80)

    def run(*words: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["crossdock", *words])
        with suppress(SystemExit):
            cli.main()
        return capsys.readouterr()

    return run


def texts(value: Any) -> Iterator[str]:
    """All texts of a JSON document."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def unfolded(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    "words",
    [
        ("catalog", "orphans"),
        ("catalog", "conflicts"),
        ("dead-letters", "list"),
        ("dead-letters", "show", "1"),
        ("customers", "changes"),
        ("customers", "changes", "--customer", HOSTILE),
        ("prices", "approvals"),
        ("prices", "approvals", "--state", "all"),
        ("status",),
    ],
    ids=lambda words: " ".join(words[:3]).replace(HOSTILE, "HOSTILE"),
)
def test_a_hostile_value_is_shown_and_does_nothing(
    output: Callable[..., tuple[str, str]], words: tuple[str, ...]
) -> None:
    printed, errors = output(*words)
    assert errors == ""
    assert set(acts(printed)) <= {"\n"}
    assert SHOWN[:22] in unfolded(printed)
    assert words[0] == "dead-letters" or max(map(len, printed.splitlines())) <= 80
    reported, _ = output(*words, "--json")
    assert set(acts(reported)) <= {"\n"}
    assert any(text == HOSTILE for text in texts(json.loads(reported)))


def test_a_date_a_number_and_a_name_are_whole_at_80_columns(output: Callable[..., tuple[str, str]]) -> None:
    printed, _ = output("status")
    assert f"orders   channel_advisor.orders   {MOMENT}   {MOMENT}" in printed
    for words in (("customers", "changes"), ("prices", "approvals"), ("status",)):
        for line in output(*words)[0].splitlines():
            assert line.count("2011-01") == line.count("2011-01-07 00:00")


def test_an_error_that_names_a_foreign_value_is_printed_as_it_is(
    output: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, errors = output("dead-letters", "show", HOSTILE + "x")
    assert SHOWN in errors
    assert set(acts(errors)) <= {"\n"}

    def fail(*_: object) -> None:
        raise ConfigError(f"The SKU {HOSTILE} is wrong.", do=f"Correct {HOSTILE}.")

    monkeypatch.setattr(flows, "get", fail)
    _, errors = output("sync", HOSTILE)
    assert errors.splitlines() == [f"ConfigError: The SKU {SHOWN} is wrong.", f"Correct {SHOWN}."]
