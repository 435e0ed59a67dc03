"""Every fault of the sandbox, on every path of the orders flow: lost 0, doubled 0, wrong 0 once it has passed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crossdock.errors import AuthError, BadResponse, CrossdockError, Transient
from integration.environment import Environment

CA, TIMS = "channel_advisor", "tims"
LIST, ONE, MARK, PUT = "listOrders", "getOrder", "markExported", "updateOrder"
BULK, ITEMS, SALES = "bulk", "listItems", "listSalesOrders"

FAULTS = [
    (CA, "rate_limited", {"path": LIST, "times": 2}),
    (CA, "rate_limited_bare", {"path": ONE, "times": 3}),
    (CA, "error_before", {"path": ONE, "times": 3}),
    (CA, "error_after", {"path": MARK, "times": 3}),
    (CA, "error_after", {"path": PUT, "times": 3}),
    (CA, "bad_gateway_html", {"path": LIST, "times": 2}),
    (CA, "denied_200", {"path": LIST, "times": 1}),
    (CA, "denied_200", {"path": MARK, "times": 1}),
    (CA, "expire_token", {"path": ONE, "times": 2, "after": 2}),
    (CA, "slow", {"path": LIST, "times": 1, "seconds": 1}),
    (CA, "cut_body", {"path": ONE, "times": 3}),
    (CA, "truncated_json", {"path": LIST, "times": 1}),
    (TIMS, "rate_limited", {"path": BULK, "times": 1}),
    (TIMS, "error_before", {"path": BULK, "times": 2}),
    (TIMS, "error_after", {"path": BULK, "times": 2}),
    (TIMS, "cut_body", {"path": BULK, "times": 1}),
    (TIMS, "hang_after", {"path": BULK, "times": 1, "seconds": 6}),
    (TIMS, "bulk_partial", {"path": BULK, "times": 1, "every": 3}),
    (TIMS, "bulk_partial", {"path": BULK, "times": 1, "every": 2, "effect": True}),
    (TIMS, "truncated_json", {"path": ITEMS, "times": 1}),
    (TIMS, "expire_token", {"path": BULK, "times": 1}),
    (TIMS, "bad_gateway_html", {"path": SALES, "times": 1}),
]
reads: list[str] = []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "kind", "rule"), FAULTS, ids=lambda part: part if isinstance(part, str) else part["path"]
)
def test_a_fault_that_passes_loses_nothing_doubles_nothing_and_kills_no_record(
    long_lived_environment: Environment, system: str, kind: str, rule: dict
):
    environment = long_lived_environment
    day = environment.now + timedelta(days=1)
    environment.tick(day)
    reads.append(day.isoformat())
    environment.fault(system, kind, **rule)
    for _ in range(4):
        try:
            environment.sync(run_id=f"{kind}:{day}")  # the same run, as a task's retry is
            break
        except Transient:
            continue
    environment.clear_faults()
    environment.sync(run_id=f"{kind}:{day}")
    found = environment.differences([each.removesuffix("+00:00") for each in reads])
    assert found == []
    assert environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "kind", "rule", "error"),
    [
        (CA, "repeat_cursor", {"path": LIST}, BadResponse),
        (CA, "token_plain_400", {}, AuthError),
        (CA, "denied_200", {"path": LIST}, AuthError),
    ],
)
def test_a_fault_that_stays_is_said_in_one_sentence_and_nothing_moves(
    long_lived_environment: Environment, system: str, kind: str, rule: dict, error: type[CrossdockError]
):
    environment = long_lived_environment
    before = environment.query("SELECT position FROM ops.watermark WHERE flow = 'orders'")
    day = environment.now + timedelta(hours=13)
    environment.tick(day)  # all tokens have expired by now
    environment.fault(system, kind, **rule)
    if kind == "repeat_cursor":  # a list of one page has no next one
        environment.query(
            "UPDATE ops.watermark SET position = position - interval '30 days' WHERE flow = 'orders' RETURNING 1"
        )
        before = environment.query("SELECT position FROM ops.watermark WHERE flow = 'orders'")
    with pytest.raises(error) as caught:
        environment.sync()
    assert caught.value.do
    assert "sandbox-secret" not in str(caught.value)
    assert environment.query("SELECT position FROM ops.watermark WHERE flow = 'orders'") == before
    environment.clear_faults()
    environment.sync()
    reads.append(day.isoformat())
    assert environment.differences([each.removesuffix("+00:00") for each in reads]) == []
