"""TIMS as a system of the sandbox: what differs from the others.

In: requests that the kernel has let through. Out: answers of the handlers, with idempotency around every POST.
Never: an effect without its stored answer, or a stored answer without its effect.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from sandbox.kernel.contract import Operation, Routes
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.oauth import LIFETIME, Access, basic
from sandbox.kernel.store import Id, Transaction
from sandbox.kernel.system import Handler, System
from sandbox.tims import (
    adjustments,
    bulk,
    credit_memos,
    customers,
    entries,
    invoices,
    items,
    ledger,
    orders,
    payments,
    shipments,
    stock,
    webhooks,
    world,
)
from sandbox.tims.call import Call
from sandbox.tims.problems import Problems, token_error
from sandbox.tims.replays import Replays, fingerprint

CLIENT, SECRET = "crossdock-sandbox", "sandbox-secret"  # documented; they open the sandbox only
READER = "crossdock-reader"  # may only read, and not the ledger
CLIENTS = {CLIENT: SECRET, READER: "sandbox-secret-reader"}
PEOPLE = "people"  # at the screens of TIMS
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_LARGE = 10**18
_ETAG = re.compile(r'"[0-9]+"')

HANDLERS: dict[str, Callable[[Call], Answer]] = {
    "getCompany": ledger.get_company,
    "listAccounts": ledger.list_accounts,
    "listPeriods": ledger.list_periods,
    "listCustomers": customers.list_customers,
    "createCustomer": customers.create_customer,
    "getCustomer": customers.get_customer,
    "updateCustomer": customers.update_customer,
    "eraseCustomer": customers.erase_customer,
    "listItems": items.list_items,
    "getItem": items.get_item,
    "getQuantity": items.get_quantity,
    "listQuantities": items.list_quantities,
    "listSalesOrders": orders.list_orders,
    "createSalesOrder": orders.create_order,
    "getSalesOrder": orders.get_order,
    "updateSalesOrder": orders.update_order,
    "cancelSalesOrder": orders.cancel_order,
    "cancelSalesOrderLine": orders.cancel_line,
    "holdSalesOrder": orders.hold_order,
    "releaseSalesOrder": orders.release_order,
    "createShipment": shipments.create_shipment,
    "listShipments": shipments.list_shipments,
    "getShipment": shipments.get_shipment,
    "putCount": adjustments.put_count,
    "listAdjustments": adjustments.list_adjustments,
    "createAdjustment": adjustments.create_adjustment,
    "getAdjustment": adjustments.get_adjustment,
    "reverseAdjustment": adjustments.reverse_adjustment,
    "listInvoices": invoices.list_invoices,
    "createInvoice": invoices.create_invoice,
    "getInvoice": invoices.get_invoice,
    "voidInvoice": invoices.void_invoice,
    "listCreditMemos": credit_memos.list_credit_memos,
    "createCreditMemo": credit_memos.create_credit_memo,
    "getCreditMemo": credit_memos.get_credit_memo,
    "listPayments": payments.list_payments,
    "createPayment": payments.create_payment,
    "getPayment": payments.get_payment,
    "reversePayment": payments.reverse_payment,
    "listEntries": entries.list_entries,
    "createEntry": entries.create_entry,
    "getEntry": entries.get_entry,
    "reverseEntry": entries.reverse_entry,
    "getTrialBalance": entries.trial_balance,
    "listSubscriptions": webhooks.list_subscriptions,
    "createSubscription": webhooks.create_subscription,
    "getSubscription": webhooks.get_subscription,
    "deleteSubscription": webhooks.delete_subscription,
}


class Tims(System):
    name = "tims"
    per_minute = 600
    at_once = 10
    paging = ("ModifiedSince", "ModifiedBefore", "Limit", "Cursor")
    terms: ClassVar = {
        "customer": customers.terms,
        "item": items.terms,
        "quantity": items.quantity_terms,
        "order": orders.terms,
        "shipment": shipments.terms,
        "adjustment": adjustments.terms,
        "invoice": invoices.terms,
        "credit_memo": credit_memos.terms,
        "payment": payments.terms,
        "entry": entries.terms,
        "period": ledger.period_terms,
        "_backorder": stock.backorder_terms,
        "subscription": webhooks.terms,
    }
    events = webhooks.Documents()

    def __init__(self, folder: Path, *, per_minute: int | None = None, at_once: int | None = None) -> None:
        super().__init__(folder, per_minute=per_minute, at_once=at_once)
        self.replays = Replays()
        self.problems = Problems(self.contract)
        bulk_handler: dict[str, Handler] = {"bulk": bulk.run}
        self.handlers = bulk_handler | HANDLERS
        existing = [op for op in self.contract.operations.values() if op.id in HANDLERS]
        self.post_routes = Routes(existing)
        self._statuses: dict[str, str] | None = None
        self._pending = True
        if not self.store.setting("set_up"):
            self.forget()

    # ---- what the kernel asks ----
    def refuse(self, refusal: Refusal) -> Answer:
        return self.problems.answer(refusal)

    def token(self, authorization: str, form: dict[str, str]) -> Answer:
        given = basic(authorization)
        secret = CLIENTS.get(given[0]) if given else None
        if given is None or secret is None or not hmac.compare_digest(given[1].encode(), secret.encode()):
            return token_error(401, "invalid_client", "Unknown client or wrong secret.")
        if "grant_type" not in form:
            return token_error(400, "invalid_request", "grant_type is missing.")
        if form["grant_type"] != "client_credentials":
            return token_error(400, "unsupported_grant_type", "The only grant is client_credentials.")
        every = self._scopes()
        if given[0] == READER:
            every = {scope for scope in every if scope.endswith(".read") and scope != "gl.read"}
        wanted = set(form.get("scope", "").split()) or every
        if wanted - every:
            return token_error(400, "invalid_scope", "A scope is not known.")
        access = self.tokens.give(given[0], sorted(wanted))
        scope = " ".join(sorted(wanted))
        body = {"access_token": access.token, "token_type": "Bearer", "expires_in": LIFETIME, "scope": scope}
        return Answer(200, body, {"Cache-Control": "no-store"})

    def decode(self, body: bytes) -> Any:
        """JSON; a number with a fraction of 0 is the whole number that it is."""
        return _whole(super().decode(body)) if body.strip() else None

    def perform(self, request: Request) -> Answer:
        operation = request.operation
        if operation.method == "GET":
            self._allocate()
            with self.store.read() as tx:
                return HANDLERS[operation.id](Call(self, tx, replace(request, now=self.clock.now())))
        self._check_headers(request)
        if operation.id == "bulk":
            return bulk.run(self, request, self.key(request))
        return self.write(request, self.key(request) if operation.method == "POST" else None)

    def apply(self, tx: Transaction, event: dict[str, Any], at: int) -> None:
        take_in = world.KINDS.get(event["kind"])
        if take_in is None:
            raise ValueError(f"TIMS knows no event {event['kind']}; known: {', '.join(world.KINDS)}")
        self._statuses = None
        take_in(tx, self.contract, dict(event["document"]), at)

    def touch(self, tx: Transaction, kind: str, id: Id, at: int) -> None:
        world.touch(tx, kind, id, at)

    def act(self, operations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        access = Access(PEOPLE, frozenset(self._scopes()))
        request = Request(self.contract.operations["bulk"], access, {}, {}, {}, None, self.clock.now())
        return [bulk.result(self, request, number, each) for number, each in enumerate(operations)]

    def _scopes(self) -> set[str]:
        return {scope for operation in self.contract.operations.values() for scope in operation.scopes}

    def moved(self) -> None:
        self._pending = True
        self._allocate()

    def forget(self) -> None:
        with self.store.write() as tx:
            ledger.set_up(tx, self.contract)
        self.store.set_setting("set_up", "1")
        self._statuses = None

    # ---- writing ----
    def _check_headers(self, request: Request) -> None:
        """If-Match where it is needed, and well formed where it is sent."""
        given = request.headers.get("if-match")
        if given is None and request.operation.required("If-Match"):
            raise Refusal(428, "IF_MATCH_REQUIRED", "Send the ETag of the version that was read as If-Match.")
        if given is not None and request.operation.takes("If-Match") and not _ETAG.fullmatch(given):
            raise Refusal(400, "INVALID_PARAMETER", 'If-Match is one ETag such as "3".')

    def key(self, request: Request) -> str:
        """The Idempotency-Key of a POST."""
        given = request.headers.get("idempotency-key", "")
        if not given:
            raise Refusal(400, "IDEMPOTENCY_KEY_MISSING", "A POST needs an Idempotency-Key.")
        if not _KEY.fullmatch(given):
            raise Refusal(400, "INVALID_PARAMETER", "An Idempotency-Key has 1 to 128 printable ASCII characters.")
        return given

    def need_scopes(self, access: Access, operation: Operation) -> None:
        if missing := set(operation.scopes) - access.scopes:
            raise Refusal(403, "insufficient_scope", f"The token lacks the scope {' '.join(sorted(missing))}.")

    def write(self, request: Request, key: str | None) -> Answer:
        """The effect and, of a POST, its stored answer in one transaction; or the answer stored before."""
        handler = HANDLERS[request.operation.id]
        if key is None:
            with self.store.write() as tx:
                answer = handler(Call(self, tx, request))
        else:
            client, print_ = request.access.client, fingerprint("POST", request.raw_path, request.body)
            with self.replays.at_work(client, key), self.store.write() as tx:
                stored = self.replays.stored(tx, client, key, print_, request.now)
                if stored:
                    return stored
                answer = handler(Call(self, tx, request))
                self.replays.keep(tx, client, key, print_, answer, request.now)
        self._pending = True
        return answer

    def _allocate(self) -> None:
        """TIMS's own work: give stock to orders that wait. Every read comes after it."""
        if self._pending:
            with self.store.write() as tx:
                self._pending = False
                orders.allocate(tx, self.clock.now())

    def item_status(self, tx: Transaction, sku: str) -> str | None:
        """Status of the item that has exactly this SKU. Called by writers only, so that the copy is never stale."""
        if self._statuses is None:
            self._statuses = {str(row.id): row.doc["Status"] for row in tx.page("item", limit=-1)}
        return self._statuses.get(sku)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < _LARGE:
        return int(value)
    return value
