"""The TIMS sandbox is held to `contracts/tims.yaml`: made-up requests get answers that the contract describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contract.tims_calls import (
    SERVED,
    Caller,
    adjustment,
    credit,
    entry,
    invoice,
    item,
    new_key,
    on_hand,
    payment,
    running,
)
from examples import examples
from sandbox.kernel import contract

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

EXISTING = {
    ("customers", "id"): "C-20001",
    ("sales-orders", "id"): "SO-100001",
    ("sales-orders", "LineNo"): 1,
    ("shipments", "id"): "SH-70001",
    ("items", "sku"): "LAMP",
    ("adjustments", "id"): "ADJ-60001",
    ("invoices", "id"): "INV-30001",
    ("credit-memos", "id"): "CM-4001",
    ("payments", "id"): "PAY-9001",
    ("entries", "id"): "GL-500001",
    ("subscriptions", "id"): "WH-1",
}


@pytest.fixture(scope="module")
def tims() -> Iterator[Caller]:
    """A TIMS in which one document of every kind is to be found."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        base, _ = stack.enter_context(running(Path(folder), per_minute=1_000_000, at_once=1_000))
        caller = Caller(base)
        caller.apply(item("LAMP"), on_hand("LAMP", MAIN=10))
        for _ in range(2):
            bill = caller.made("/ar/invoices", invoice(caller.shipped()))
        caller.made("/ar/credit-memos", credit(bill))
        caller.made("/ar/payments", payment("1.00", ("InvoiceID", bill["InvoiceID"], "1.00")))
        caller.made("/inventory/adjustments", adjustment(-1))
        wanted = {"TargetURL": "http://127.0.0.1:9/hooks", "EventTypes": ["item.updated"], "Secret": "s" * 32}
        caller.made("/webhooks/subscriptions", wanted)
        caller.made("/gl/entries", entry(("1000", "1.00", "0.00"), ("1100", "0.00", "1.00")))
        yield caller


schema = schemathesis.openapi.from_path(contract.FOLDER / "tims.yaml")


def made_up_requests(operation: str) -> Callable[..., None]:
    """The test of one operation. Each has a name, so an id, of its own: of tests with one id, pytest hands out one."""

    @pytest.mark.slow
    @schema.include(operation_id=operation).parametrize()
    @examples(
        4,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
    )
    def test(case: schemathesis.Case, tims: Caller) -> None:
        headers: dict[str, Any] = {"Authorization": tims.http.headers["Authorization"]}
        if case.method == "POST":
            headers["Idempotency-Key"] = new_key()
        if case.method in ("PATCH", "PUT"):
            headers["If-Match"] = '"1"'
        _name_what_exists(case)
        answer = case.call(base_url=tims.base, headers=headers, timeout=10)
        case.validate_response(answer, checks=CHECKS)

    return test


for each in sorted(SERVED - {"createToken"}):
    globals()[f"test_made_up_requests_get_answers_that_the_contract_describes_{each}"] = made_up_requests(each)


def _name_what_exists(case: schemathesis.Case) -> None:
    """Made-up ids are found by nobody: let the path name something that is there."""
    for kind in case.path.split("/"):
        for name in case.path_parameters or {}:
            if (kind, name) in EXISTING:
                case.path_parameters[name] = EXISTING[kind, name]


@pytest.mark.parametrize("operation", sorted(SERVED))
def test_every_served_operation_is_one_of_the_contract(operation: str) -> None:
    assert operation in contract.load("tims").operations
