"""An environment for the ledger: a TIMS server whose documents the test writes, a database, booked settlements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from contract.tims_calls import NOW, Caller, item, on_hand, running
from crossdock import flows
from crossdock.ledger.close import close
from crossdock.runtime import Runtime
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from crossdock.store.batches import Counts
from crossdock.systems.connections import Connection, parse
from integration.environment import fresh_database

LEDGER = ("invoices", "credit_memos", "adjustments", "settlements", "payments", "captures")
CODES = {"1000": "Bank", "1100": "Clearing", "1150": "Reserve", "1160": "Disputes", "1180": "FeeTax",
         "1200": "Inventory", "2200": "SalesTax", "2210": "FacilitatorTax", "2400": "Deposits", "4000": "Revenue",
         "4010": "ShippingRevenue", "4020": "GiftWrap", "4100": "Promotions", "4200": "Returns", "5000": "COGS",
         "5100": "Shrinkage", "6100": "Commission", "6110": "Fulfilment", "6190": "Suspense", "6900": "Rounding",
         "6910": "FX"}  # fmt: skip


@dataclass
class LedgerEnv:
    tims: Caller
    connections: dict[str, Connection]
    database_url: str

    def runtime(self) -> Runtime:
        return Runtime(self.database_url, self.connections.__getitem__)

    def sync(self, flow: str, **more: Any) -> Counts:
        with self.runtime() as runtime:
            ids = extract(runtime, flows.get(flow), Window(), **more)
            return run_batches(runtime, flows.get(flow), ids)

    def post(self, part: str, **more: Any) -> Counts:
        """One flow of the ledger."""
        self.tims.advance(10)  # rows are visible after two seconds
        return self.sync(f"ledger_{part}", **more)

    def post_all(self, **more: Any) -> Counts:
        """Every flow of the ledger, in its order."""
        return sum((self.post(part, **more) for part in LEDGER), Counts())

    def entries(self) -> dict[str, dict[str, Any]]:
        """All entries of TIMS by ExternalReference."""
        with self.runtime() as runtime:
            return {entry["ExternalReference"]: entry for entry in runtime.tims.find("gl/entries")}

    def ledger(self) -> dict[str, list[str]]:
        """The same, each as its lines in words."""
        return {key: lines_of(entry) for key, entry in self.entries().items()}

    def balances(self, currency: str = "USD") -> dict[str, Decimal]:
        """TIMS's own trial balance: debit above 0; accounts that are at 0 are left out."""
        found = self.tims.get("/gl/trial-balance", CurrencyCode=currency, AsOf="2011-12-31")
        sums = {row["AccountCode"]: Decimal(row["Debit"]) - Decimal(row["Credit"]) for row in found["Lines"]}
        return {CODES.get(code, code): amount for code, amount in sums.items() if amount}

    def failed_controls(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """The failed controls at the end of the year: control, subject, documents."""
        self.tims.advance(10)
        with self.runtime() as runtime:
            return [(one.name, one.subject, one.documents) for one in close(runtime, "2011-12", wait=0).failed]

    def letters(self) -> dict[str, sa.Row]:
        with self.runtime() as runtime, runtime.engine.begin() as connection:
            return {row.key: row for row in dead_letters.listed(connection, limit=100_000)}

    def execute(self, statement: str, **facts: Any) -> Any:
        with self.runtime() as runtime, runtime.engine.begin() as connection:
            result = connection.execute(sa.text(statement), facts)
            return list(result) if result.returns_rows else None

    def book(self, settlement: str, total: str, *lines: tuple[str, str], **facts: Any) -> None:
        """A settlement of Amazon US in our books: its total, and (kind, amount) of its lines."""
        given = {
            "source": "amazon_us", "channel": "Amazon US", "format": "amazon_v2", "file": f"{settlement}.txt",
            "currency_code": "USD", "start_at": "2011-01-03T00:00:00Z", "end_at": "2011-01-10T00:00:00Z",
            "deposit_at": "2011-01-12T15:00:00Z", "content_hash": settlement, "posted_at": "2011-01-08T12:00:00Z",
            "order_ref": None, "sales_order_id": None,
        } | facts  # fmt: skip
        posted = {name: given.pop(name) for name in ("posted_at", "order_ref", "sales_order_id")}
        self._insert("ref.settlement", given | {"settlement_id": settlement, "total": Decimal(total)})
        for number, (kind, amount) in enumerate(lines, 1):
            self._insert("ref.settlement_line", {
                "source": given["source"], "settlement_id": settlement, "line_no": str(number), "position": number,
                "kind": kind, "amount": Decimal(amount), "currency_code": given["currency_code"], **posted,
            })  # fmt: skip

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        columns = ", ".join(f'"{name}"' for name in row)
        self.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(f':{name}' for name in row)})", **row)


def lines_of(entry: Mapping[str, Any]) -> list[str]:
    """An entry's lines: "debit Clearing 98.00"."""
    return [
        f"{'debit' if line['Debit'] != '0.00' else 'credit'} {CODES.get(line['AccountCode'], line['AccountCode'])} "
        f"{line['Debit'] if line['Debit'] != '0.00' else line['Credit']}"
        for line in entry["Lines"]
    ]


@contextmanager
def found_ledger_env(postgres_url: str, name: str, folder: Path) -> Iterator[LedgerEnv]:
    """An environment on the morning of 2011-01-04: two items in TIMS, no document yet."""
    with fresh_database(postgres_url, name) as url, running(folder, per_minute=100_000) as (base, _):
        connection = {"conn_type": "http", "host": base, "login": "crossdock-sandbox", "password": "sandbox-secret"}
        tims = Caller(base)
        tims.clock(NOW)
        tims.apply(item("LAMP"), item("SHADE", Cost="3.3333"), on_hand("LAMP", MAIN=1000), on_hand("SHADE", MAIN=1000))
        yield LedgerEnv(tims, {"tims": parse("tims", json.dumps(connection))}, url)
