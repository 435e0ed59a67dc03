"""Orders, the buyers: buyer data of new orders -> the customers that TIMS has already.

In: `stage.buyer`, the versions of customers in raw, our own changes in `ops.customer_change`. Out: a PATCH of each
customer that differs, with each decision on record. Never: a request for a customer with nothing to change; an order
that stops because its buyer's data cannot be changed; a lost answer that nobody follows up.

Works every order that TIMS has by now, of any batch: what one run could not finish, the next one does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import OutcomeUnknown, RecordRejected, Transient, WriteRefused
from crossdock.keys import segment
from crossdock.pool import Pool
from crossdock.reference import tims
from crossdock.rules import settings as rule_settings
from crossdock.rules.customer_changes import FIELDS, Customer, Decision, Ours, Statement, decide, plain
from crossdock.rules.settings import Settings
from crossdock.steps.load import chunked, codes, deliver
from crossdock.store import alerts, database, deliveries, raw, sql
from crossdock.store.deliveries import Effect
from crossdock.store.tables import (
    ADDRESS,
    ops_customer_change,
    ops_link,
    raw_customers,
    stage_buyer,
    stage_customer,
)
from crossdock.systems import times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)

AT_ONCE = 4  # customers at once, within the system's budget
PORTION = 200  # customers whose history is in memory at once
TRIES = 5  # per customer, while somebody else changes it or answers are lost


_KNOWN = sql.statement(__package__, "buyers_known")

_DIFFERENT = sql.statement(__package__, "buyers_different")

_SAID = sql.statement(__package__, "buyers_of")


@dataclass(frozen=True)
class _Facts:
    """All that is known of one customer. `sent`: changes whose answer was lost with the process that sent them."""

    customer_id: str
    versions: Sequence[Customer]
    statements: Sequence[Statement]
    ours: Sequence[Ours]
    sent: Sequence[Decision]

    @property
    def newest(self) -> Customer | None:
        """The newest version read; None where we have, or may have, changed the customer since: TIMS is asked then."""
        newest = max(self.versions, key=lambda each: each["RowVersion"], default=None)
        overtaken = newest is not None and any(each.row_version > newest["RowVersion"] for each in self.ours)
        return None if self.sent or overtaken else newest


def bring(runtime: Runtime, flow: str, batch_id: int) -> None:
    """Updates customers from the buyer data of the orders loaded by now. Raises the last transient error after all
    others are done."""
    settings = rule_settings.load()
    with runtime.engine.begin() as connection:
        connection.execute(_KNOWN)
        different = list(connection.scalars(_DIFFERENT))
        buyer, link = stage_buyer.c, ops_link.c
        is_loaded = sa.exists().where(link.entity == "sales_order", link.source_key == buyer.key)
        equal = sa.and_(buyer.state == "staged", buyer.customer_id != sa.all_(sa.cast(different, sa.ARRAY(sa.Text))))
        connection.execute(sa.update(stage_buyer).where(equal, is_loaded).values(state="done"))
    problem: Transient | None = None
    with Pool(AT_ONCE, "customers") as pool:
        for portion in chunked(different, PORTION):
            ask = _decided(runtime, batch_id, portion, settings)
            for future in [pool.submit(_bring, runtime, flow, batch_id, facts, settings) for facts in ask]:
                try:
                    future.result()
                except Transient as error:
                    problem = error
                except WriteRefused as error:
                    log.info("A customer is not changed: %s", error)
    if problem:
        raise problem


def _decided(runtime: Runtime, batch_id: int, customer_ids: Sequence[str], settings: Settings) -> list[_Facts]:
    """Records the customers that need no request; returns those that do."""
    ask: list[_Facts] = []
    with runtime.engine.begin() as connection:
        for facts in _facts(connection, customer_ids):
            found = decide(facts.versions, facts.statements, facts.ours, settings) if facts.newest else []
            if not facts.newest or any(not each.keep for each in found):
                ask.append(facts)
            else:
                _record_outcomes(connection, batch_id, facts, found)
    return ask


def _facts(connection: sa.Connection, customer_ids: Sequence[str]) -> list[_Facts]:
    """Reads all that is known of these customers, by four queries."""
    versions: dict[str, list[Customer]] = {}
    for key, payload in connection.execute(
        raw.history(raw_customers, tims.CUSTOMERS.name)
        .where(raw_customers.c.key.in_(customer_ids))
        .with_only_columns(raw_customers.c.key, raw_customers.c.payload)
    ):
        versions.setdefault(key, []).append(payload)
    ours: dict[str, list[Ours]] = {}
    made = (
        sa.select(ops_link.c.target_id, stage_customer.c.document)
        .join(stage_customer, stage_customer.c.key == ops_link.c.source_key)
        .where(ops_link.c.entity == "customer", ops_link.c.target_id.in_(customer_ids))
    )
    for customer_id, document in connection.execute(made):
        ours.setdefault(customer_id, []).extend(Ours(field, document.get(field), 1) for field in FIELDS)
        # Not read yet: the document that it was created from is its first version.
        first = {**document, "CustomerID": customer_id, "Status": "Active", "RowVersion": 1}
        versions.setdefault(customer_id, [first])
    sent: dict[str, list[Decision]] = {}
    table = ops_customer_change
    for row in connection.execute(sa.select(table).where(table.c.customer_id.in_(customer_ids))):
        if row.outcome == "changed":
            ours.setdefault(row.customer_id, []).append(Ours(row.field, row.new_value, row.row_version))
        elif row.outcome == "sent":
            change = Decision(row.field, row.order_key, row.ordered_at, row.old_value, row.new_value)
            sent.setdefault(row.customer_id, []).append(change)
    statements: dict[str, list[Statement]] = {}
    for order in connection.execute(_SAID, {"ids": list(customer_ids)}).mappings():
        values = {
            "Email": order["Email"],
            "Phone": order["Phone"],
            "BillingAddress": _address(order, "BillingAddress"),
            "ShippingAddresses": _address(order, "ShippingAddress"),
        }
        each = Statement(order["key"], times.read(order["OrderDate"]), order["site"], values, order["new"])
        statements.setdefault(order["customer_id"], []).append(each)
    return [
        _Facts(one, versions.get(one, []), statements[one], ours.get(one, []), sent.get(one, []))
        for one in customer_ids
    ]


def _address(row: sa.RowMapping, prefix: str) -> dict[str, str | None] | None:
    """Makes an address with all parts, also the empty ones: PATCH leaves absent parts unchanged."""
    parts = {part: row[f"{prefix}.{part}"] for part in ADDRESS}
    return parts if any(parts.values()) else None


# ---- one customer --------------------------------------------------------------------------------------------------


def _bring(runtime: Runtime, flow: str, batch_id: int, facts: _Facts, settings: Settings) -> None:
    """Decides and changes one customer by the version read last. Reads it and decides again where that version was
    stale, or the answer was lost."""
    path = f"/customers/{segment(facts.customer_id)}"
    refused: set[str] = set()
    newest = facts.newest
    for _ in range(TRIES):
        try:
            current, etag = (newest, f'"{newest["RowVersion"]}"') if newest else runtime.tims.read(path)
        except RecordRejected as error:  # the customer was deleted
            lost = decide(facts.versions, facts.statements, facts.ours, settings) if facts.versions else []
            changes = [each for each in lost if not each.keep and each.field not in refused]
            _refuse(runtime, flow, batch_id, facts, changes, error)
            return _finish(runtime, flow, batch_id, facts, [])
        newest = None
        facts = _answered(runtime, batch_id, facts, current)
        found = decide([*facts.versions, current], facts.statements, facts.ours, settings)
        kept = [each for each in found if each.keep]
        changes = [each for each in found if not each.keep and each.field not in refused]
        if not changes:
            return _finish(runtime, flow, batch_id, facts, kept)
        last = max(changes, key=lambda each: (each.at, each.order))
        name = f"customer:{facts.customer_id}:update:{last.order}"
        body = {each.field: each.value for each in changes}
        with runtime.engine.begin() as connection:
            _record(connection, batch_id, facts.customer_id, "sent", changes)
        try:
            answer = deliver(
                runtime,
                flow,
                batch_id,
                Effect("customer", "update", facts.customer_id, name),
                partial(runtime.tims.patch, path, body, etag=etag),
            )
        except OutcomeUnknown:
            facts = replace(facts, sent=changes)
        except WriteRefused:
            with runtime.engine.begin() as connection:
                _never_sent(connection, facts.customer_id)
            raise
        except RecordRejected as error:
            if error.code != "STALE_VERSION":
                refused |= _refuse(runtime, flow, batch_id, facts, changes, error)
        else:
            made = [replace(each, value=answer[each.field]) for each in changes]
            with runtime.engine.begin() as connection:
                _record(connection, batch_id, facts.customer_id, "changed", made, version=answer)
            return _finish(runtime, flow, batch_id, facts, kept)
    raise Transient(
        f"Customer {facts.customer_id} is being changed by somebody else all the time, or TIMS's answers are lost.",
        do="Nothing to do: it is tried again.",
        system="tims",
    )


def _never_sent(connection: sa.Connection, customer_id: str) -> None:
    """Deletes the record of changes that were not sent."""
    table = ops_customer_change.c
    mine = sa.and_(table.customer_id == customer_id, table.outcome == "sent")
    connection.execute(sa.delete(ops_customer_change).where(mine))


def _answered(runtime: Runtime, batch_id: int, facts: _Facts, current: Customer) -> _Facts:
    """Follows up changes whose answer was lost: records those that TIMS has as ours, deletes the others."""
    arrived = [each for each in facts.sent if plain(current.get(each.field)) == plain(each.value)]
    with runtime.engine.begin() as connection:
        _record(connection, batch_id, facts.customer_id, "changed", arrived, version=current)
        _never_sent(connection, facts.customer_id)
    mine = [Ours(each.field, each.value, current["RowVersion"]) for each in arrived]
    return replace(facts, ours=[*facts.ours, *mine], sent=())


def _refuse(
    runtime: Runtime,
    flow: str,
    batch_id: int,
    facts: _Facts,
    changes: Sequence[Decision],
    error: RecordRejected,
) -> set[str]:
    """Records the fields that TIMS refuses (all, where it names none), raises a notice, and returns them."""
    named = {refusal.field.strip("/").partition("/")[0] for refusal in error.refusals}
    mine = [each for each in changes if each.field in named] or list(changes)
    fields = {each.field for each in mine}
    if not mine:
        return fields
    orders = ", ".join(sorted({each.order for each in mine}))
    with runtime.engine.begin() as connection:
        _record(connection, batch_id, facts.customer_id, "refused", mine, error=f"{error.code}: {codes(error)}")
        alerts.raise_alert(
            connection,
            kind="customer_change_refused",
            key=f"{facts.customer_id}:{orders}",
            flow=flow,
            title=f"TIMS refuses a change of customer {facts.customer_id}",
            body=f"Order {orders} has another {', '.join(sorted(fields))} than the customer, and TIMS refuses it: "
            f"{error.code} ({codes(error)}). The order itself is loaded. Look at it with `crossdock customers changes "
            f"--customer {facts.customer_id}` and set the field in TIMS by hand if it is right.",
            severity="notice",
        )
    return fields


def _finish(runtime: Runtime, flow: str, batch_id: int, facts: _Facts, kept: Sequence[Decision]) -> None:
    """Records that the customer is in sync, also for earlier calls whose answer was lost."""
    with runtime.engine.begin() as connection:
        deliveries.in_sync(connection, flow, facts.customer_id)
        _record_outcomes(connection, batch_id, facts, kept)


def _record_outcomes(connection: sa.Connection, batch_id: int, facts: _Facts, kept: Sequence[Decision]) -> None:
    """Marks the customer's orders as done, and records changes not made because a person had set the value."""
    _record(connection, batch_id, facts.customer_id, "kept", kept)
    done = [each.order for each in facts.statements if each.new]
    connection.execute(sa.update(stage_buyer).where(stage_buyer.c.key.in_(done)).values(state="done"))


def _record(
    connection: sa.Connection,
    batch_id: int,
    customer_id: str,
    outcome: str,
    decisions: Sequence[Decision],
    version: Customer | None = None,
    error: str | None = None,
) -> None:
    if not decisions:
        return
    statement = database.insert_all(
        ops_customer_change,
        [
            {
                "customer_id": customer_id,
                "field": each.field,
                "order_key": each.order,
                "ordered_at": each.at,
                "outcome": outcome,
                "row_version": version["RowVersion"] if version else None,
                "modified_at": times.read(version["ModifiedAt"]) if version else None,
                "error": error,
                "batch_id": batch_id,
                "old_value": each.before,
                "new_value": each.value,
            }
            for each in decisions
        ],
    )
    key = ("customer_id", "field", "order_key")
    changed = {c.name: statement.excluded[c.name] for c in ops_customer_change.c if c.name not in (*key, "at")}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed | {"at": sa.func.now()}))
