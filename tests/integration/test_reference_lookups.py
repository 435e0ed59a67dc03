"""What rules ask the database for gives the same orders as all that it holds: no column and no problem differs."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crossdock.mapping import language
from crossdock.mapping.parse import read_documents
from crossdock.reference.lookups import Lookups, without_advice
from crossdock.rules import movements
from crossdock.rules import settings as rule_settings
from crossdock.rules.order_context import OrderContext
from crossdock.rules.reference_data import ByKind, Contact, Reference, ReferenceData
from crossdock.rules.statuses import read_statuses
from crossdock.store import database
from crossdock.store.tables import (
    raw_orders,
    ref_customer,
    ref_customer_key,
    ref_item,
    ref_item_code,
    stage_buyer,
)
from examples import examples
from integration.environment import Environment, fresh_database
from rules_examples import BUYER, Enriched, config, external, line, order, reference_data, run, tims_address

NOW = datetime(2011, 1, 1, tzinfo=UTC)
ALSO = ("verdict", "customer_action", "customer_key", "customer_external_id", "customer_match")

# All contacts of too many buyers, counted over whole tables.
SHARED = sa.text("""
WITH had AS (
  SELECT 'email' AS kind, value, customer_id AS buyer FROM ref.customer_key WHERE kind = 'email'
  UNION
  SELECT 'phone', split_part(value, '|', 1), customer_id FROM ref.customer_key WHERE kind = 'phone_postal'
  UNION
  SELECT 'email', lower("Email"), coalesce(customer_id, customer_key, lower("ShippingAddress.Name"))
        FROM stage.buyer WHERE "Email" IS NOT NULL
  UNION
  SELECT 'phone', "Phone", coalesce(customer_id, customer_key, lower("ShippingAddress.Name"))
        FROM stage.buyer WHERE "Phone" IS NOT NULL
)
SELECT kind, value FROM had GROUP BY kind, value HAVING count(DISTINCT buyer) > :most
""")


class Everything(ReferenceData):
    """Answers every question with all that TIMS has."""

    def items_of(self, skus: Collection[str]) -> pd.DataFrame:
        return self.items

    def codes_of(self, codes: Collection[str], folded: Collection[str]) -> pd.DataFrame:
        return self.item_codes if codes else super().codes_of(codes, folded)

    def keys_of(self, keys: ByKind) -> pd.DataFrame:
        return self.customer_keys

    def customers_of(self, ids: Collection[str]) -> pd.DataFrame:
        return self.customers

    def shared_of(self, contacts: ByKind) -> Collection[Contact]:
        return self.shared


def everything(connection: sa.Connection, shared_above: int, kind: type[ReferenceData] = Everything) -> ReferenceData:
    """Whole tables, as they are in the database."""
    found = Lookups(connection, shared_above)

    def whole(table: sa.Table, **names: str) -> pd.DataFrame:
        return database.copy_out(connection, sa.select(*(table.c[n].label(shown) for n, shown in names.items())))

    codes = whole(ref_item_code, code="code", folded="folded", kind="kind", sku="SKU")
    return kind(
        items=found.items_of(connection.scalars(sa.select(ref_item.c.sku)).all()).reset_index(drop=True),
        item_codes=codes,
        customers=whole(ref_customer, customer_id="CustomerID", status="Status", name="Name"),
        customer_keys=whole(ref_customer_key, kind="kind", value="value", customer_id="CustomerID"),
        shared=frozenset((row.kind, row.value) for row in connection.execute(SHARED, {"most": shared_above})),
        time_zone=found.time_zone,
    )


# ---- generated orders ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[sa.Connection]:
    with fresh_database(postgres_url, "reference_lookups") as url:
        engine = database.engine(url, role=None)
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def put(connection: sa.Connection, tims: ReferenceData, buyers: list[dict[str, Any]]) -> None:
    """Fills `ref` and the buyers of former orders."""
    for table in (ref_item, ref_item_code, ref_customer, ref_customer_key, stage_buyer):
        connection.execute(sa.delete(table))
    rows = [
        {
            "sku": row.SKU,
            "status": row.Status,
            "type": row.Type,
            "kit_components": [{"SKU": sku, "Quantity": units} for sku, units in row.KitComponents or ()],
            "cost": 0,
            "list_price": Decimal(row.ListPrice) / 10_000,
            "currency_code": "USD",
            "category": row.Category,
            "version": NOW,
        }
        for row in tims.items.itertuples()
    ]
    connection.execute(sa.insert(ref_item), rows)
    database.copy_in(connection, ref_item_code, tims.item_codes.rename(columns={"SKU": "sku"}))
    names = {"CustomerID": "customer_id", "Status": "status", "Name": "name"}
    people = tims.customers.rename(columns=names).assign(version=NOW.isoformat())
    database.copy_in(connection, ref_customer, people)
    keys = tims.customer_keys.rename(columns={"CustomerID": "customer_id"}).drop_duplicates()
    database.copy_in(connection, ref_customer_key, keys)
    for number, buyer in enumerate(buyers):
        row = {"key": str(number), "version": "", "site": "12345678:640", "OrderDate": "", **buyer}
        connection.execute(sa.insert(stage_buyer).values(row))


MAILS = ("ana.ortiz@example.com", "Bob@Example.com", "x7k2p9@marketplace.amazon.com", None)
PHONES = ("+1 212 555 0147", "+1 415 555 2671", None)
NAMES = ("Ana", "ANÁ", "Bob", None)
STREETS = ("12 Elm St", "9 Oak St", None)
BUYER_IDS = ("A1B2C3", "Z", None)
SITES = (640, 641, 587)
CODES = (
    "MUG", "mug", " MUG ", "LAMP", "LMP-1", "lmp-1", "OLD", "STOP", "twin", "TWIN", "Twin", "SET", "set", "BADSET",
    "NOPE", "MUGG", "LAMPS", "gift_0001_20", "POST", "PADS", "", None, "straße", "STRASSE", "a\\'\"{b},%c", "MÜG",
)  # fmt: skip
TEXTS = st.text(string.ascii_letters[:4] + "ßẞİ'\\\"%,- ", min_size=1, max_size=4)

codes = st.sampled_from(CODES) | TEXTS
statuses = st.sampled_from(("Active", "Active", "Active", "Blocked", "Discontinued"))


@st.composite
def goods(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Items, some of them kits, of kits too, or of parts that TIMS does not have; codes that two of them share."""
    skus = draw(st.lists(codes.filter(bool).map(str.strip).filter(bool), min_size=1, max_size=8, unique=True))
    parts = st.lists(st.tuples(st.sampled_from([*skus, "GONE"]), st.integers(1, 3)), max_size=3)
    found = []
    for sku in skus:
        kit = draw(parts | st.none())
        others = draw(st.lists(codes.filter(bool), max_size=2, unique=True))
        found.append(
            {
                "SKU": sku,
                "Status": draw(statuses),
                "Type": "Kit" if kit else "Inventory",
                "KitComponents": kit or None,
                "ListPrice": draw(st.sampled_from((0, 40_000, 500_000))),
                "Category": draw(st.sampled_from((None, "Home", "Books > Fiction"))),
                "AlternateSKUs": [code for code in others if code != sku],
            }
        )
    return found


@st.composite
def customers(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(0, 5))):
        street = draw(st.sampled_from(STREETS))
        ids = draw(st.lists(st.tuples(st.sampled_from(SITES), st.sampled_from(("A1B2C3", "Z", "house:", "order:9")))))
        found.append(
            {
                "CustomerID": f"C-{number}",
                "Status": draw(st.sampled_from(("Active", "Active", "Inactive"))),
                "Name": f"{draw(st.sampled_from(('Ana', 'Bob', 'Zoë')))} Ortiz",
                "Email": draw(st.sampled_from(MAILS)),
                "Phone": draw(st.sampled_from(("+12125550147", "+14155552671", None))),
                "ExternalIDs": [external(f"12345678:{site}:{buyer}")[0] for site, buyer in ids],
                "ShippingAddresses": [tims_address(Line1=street)] if street else [],
            }
        )
    return found


@st.composite
def former_buyers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Buyers of former orders; so many of some that their contacts are nobody's."""
    found = []
    for number in range(draw(st.integers(0, 9))):
        named_by = draw(st.sampled_from(("customer_id", "customer_key", "ShippingAddress.Name", "site")))
        mail = draw(st.sampled_from(("ana.ortiz@example.com", "BOB@example.com", None)))
        phone = draw(st.sampled_from(("+12125550147", "+12125550147", None)))
        found.append({"Email": mail, "Phone": phone, named_by: draw(st.sampled_from((f"B{number}", "C-1", "c-1")))})
    return found


@st.composite
def orders(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        buyer = {
            "CustomerID": draw(st.sampled_from(BUYER_IDS)),
            "FirstName": draw(st.sampled_from(NAMES)),
            "Email": draw(st.sampled_from(MAILS)),
            "Phone": draw(st.sampled_from(PHONES)),
        }
        sold = draw(st.lists(codes, min_size=1, max_size=3))
        found.append(
            order(
                number,
                SiteID=draw(st.sampled_from(SITES)),
                CustomerInfo=draw(st.sampled_from((BUYER | buyer, BUYER | buyer, None))),
                ShippingAddress={
                    "Line1": draw(st.sampled_from(STREETS)),
                    "Name": draw(st.sampled_from(("Ana Ortiz", None))),
                },
                DistributionCenterTypeRollup=draw(st.sampled_from(("SellerManaged", "ExternallyManaged"))),
                OrderItems=[line(n, SKU=sku) for n, sku in enumerate(sold, 1)],
            )
        )
    return found


def same(one: Enriched, other: Enriched) -> None:
    for part in ("header", "lines", "problems", "warnings", "customers"):
        assert_frame_equal(getattr(one, part), getattr(other, part), obj=part)


@examples(20, suppress_health_check=list(HealthCheck))
@given(items=goods(), people=customers(), buyers=former_buyers(), documents=orders(), above=st.sampled_from((1, 2, 5)))
def test_of_any_orders_no_column_and_no_problem_differs(
    connection: sa.Connection,
    items: list[dict[str, Any]],
    people: list[dict[str, Any]],
    buyers: list[dict[str, Any]],
    documents: list[dict[str, Any]],
    above: int,
) -> None:
    given_settings = config(guests="account", guest_account="C-0") if above == 1 else config()
    put(connection, reference_data(*people, items=items), buyers)
    try:
        whole = run(*documents, tims=everything(connection, above), settings=given_settings)
        same(run(*documents, tims=Lookups(connection, above), settings=given_settings), whole)
        same(run(*documents, tims=everything(connection, above, ReferenceData), settings=given_settings), whole)
    finally:
        connection.rollback()


@examples(10, suppress_health_check=list(HealthCheck))
@given(items=goods(), sold=st.lists(codes.filter(bool), min_size=1, max_size=6))
def test_of_any_movements_of_stock_no_item_and_no_problem_differs(
    connection: sa.Connection, items: list[dict[str, Any]], sold: list[str]
) -> None:
    put(connection, reference_data(items=items), [])
    try:
        header = pd.DataFrame({"Reference": [str(n) for n in range(len(sold))], "SKU": pd.Series(sold, dtype="str")})
        skus, found = movements.items(header, everything(connection, 5), config())
        lookups = Lookups(connection, 5)
        skus_by_need, found_by_need = movements.items(header, lookups, config())
        pd.testing.assert_series_equal(skus_by_need, skus)
        assert_frame_equal(found_by_need, found)
    finally:
        connection.rollback()


def test_a_text_that_postgres_cannot_keep_is_nobody_s(connection: sa.Connection) -> None:
    found = Lookups(connection, 5)
    assert found.items_of(["MUG\0"]).empty
    assert found.codes_of(["\0"], ["\0"]).empty
    assert found.keys_of({"email": ["ana\0@example.com"]}).empty
    assert not found.shared_of({"email": [], "phone": ["\0"]})
    assert found.keys_of({}).empty


def test_a_contact_of_many_is_found_in_tims_and_in_former_orders_together(connection: sa.Connection) -> None:
    """Three customers of TIMS, two more of former orders, and a recipient: the same one in both counts once, and orders
    that name nobody do not count."""
    ana = "ana.ortiz@example.com"
    people = reference_data(*({"CustomerID": f"C-{n}", "Email": ana} for n in range(3)))
    others = [{"Email": ana.upper(), "customer_id": f"C-{n}"} for n in range(5)]
    recipients = [{"Email": ana, "ShippingAddress.Name": name} for name in ("Ana Ortiz", "ANA ORTIZ")]
    put(connection, people, [*others, *recipients, *[{"Email": ana}] * 9])
    try:
        assert Lookups(connection, 6).shared_of({"email": [ana], "phone": []}) == set()
        contacts = {"email": [ana, "b@example.com"], "phone": [ana]}
        for above in (1, 4, 5):
            assert Lookups(connection, above).shared_of(contacts) == {("email", ana)}
    finally:
        connection.rollback()


# ---- orders as they come -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def days(long_lived_environment: Environment) -> Environment:
    """Some days of orders, with the customers that they have brought."""
    for day in ("2011-01-06", "2011-01-09"):
        long_lived_environment.tick(day)
        long_lived_environment.sync()
    return long_lived_environment


def test_of_real_orders_no_column_and_no_problem_differs(days: Environment) -> None:
    """All orders so far, each as if TIMS had none of them and had their customers."""
    with days.runtime() as runtime, runtime.engine.connect() as connection:
        payloads = [
            database.to_json(payload).encode() for payload in connection.scalars(sa.select(raw_orders.c.payload))
        ]
        frames = read_documents(payloads, "channel_advisor", "Order", lines="OrderItems").frames
        settings = rule_settings.load()
        assert len(frames.header) > 40
        assert connection.scalar(sa.select(sa.func.count()).select_from(ref_customer)) > 10

        def made(reference: Reference) -> Any:
            context = OrderContext(reference, settings, *read_statuses())
            return language.load("sales_order").apply(frames, context, also=ALSO)

        one, other = (
            made(Lookups(connection, settings.shared_above)),
            made(everything(connection, settings.shared_above)),
        )
    assert one.source.header["customer_action"].eq("use").any()
    for part, whole in ((one.source, other.source), (one.target, other.target)):
        assert_frame_equal(part.header, whole.header)
        assert_frame_equal(part.lines, whole.lines)
    assert_frame_equal(one.source.made, other.source.made)
    for name in ("problems", "errors", "warnings"):
        assert_frame_equal(getattr(one, name), getattr(other, name))


def test_all_codes_are_read_again_when_they_have_changed_and_not_for_words_that_nobody_reads(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[sa.Select] = []
    read = database.copy_out
    monkeypatch.setattr(database, "copy_out", lambda made, statement: reads.append(statement) or read(made, statement))
    row = {"code": "ZZ-Same", "folded": "zz-same", "kind": "sku", "sku": "ZZ-Same"}
    connection.execute(sa.insert(ref_item_code), [row])
    lookups = Lookups(connection, 3)
    assert "zz-same" in lookups.every_code()
    assert lookups.every_code() == Lookups(connection, 3).every_code()
    assert len(reads) == 1
    connection.execute(sa.update(ref_item_code).where(ref_item_code.c.code == "ZZ-Same").values(folded="zz-other"))
    assert {"zz-other"} == {code for code in lookups.every_code() if code.startswith("zz-")}
    connection.execute(sa.delete(ref_item_code).where(ref_item_code.c.code == "ZZ-Same"))
    with without_advice():
        assert lookups.every_code() == []
    assert "zz-other" not in lookups.every_code()
    connection.rollback()
