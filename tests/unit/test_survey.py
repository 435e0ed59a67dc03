"""What a survey finds in records that were made for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crossdock import settings
from crossdock.services import survey
from crossdock.services.connect import declared
from crossdock.services.gates import Decision
from crossdock.services.survey import Finding, Sample
from crossdock.services.survey.records import of_pages
from crossdock.systems.paging import Page, Unmade

ADDRESS = {"Name": "Ada Miller", "Line1": "12 Elm Street", "City": "Albany", "PostalCode": "12207", "Country": "US"}


@pytest.fixture(autouse=True)
def config(tmp_path: Path) -> Iterator[Path]:
    folder = shutil.copytree(settings.PROJECT / "include" / "config", tmp_path / "config")
    with settings.using(folder):
        yield folder


def order(**other: Any) -> dict[str, Any]:
    line = {"OrderItemID": 1, "SKU": "LAMP", "Quantity": 1, "UnitPrice": 5.0, "Title": "Lamp", "QuantityShipped": 0,
            "QuantityCancelled": 0, "QuantityReturned": 0}  # fmt: skip
    return {
        "ChannelAdvisorOrderID": 7, "OrderID": "7", "ProfileID": 1, "SiteID": 587, "SiteName": "Web Shop",
        "OrderStatus": "New", "PaymentStatus": "Cleared", "FulfillmentStatus": "Unshipped", "Currency": "GBP",
        "OrderDate": "2011-01-04T10:00:00Z", "ImportDate": "2011-01-04T10:00:00Z", "Flag": "NoFlag",
        "UpdatedDate": "2011-01-04T10:00:00Z", "OrderItems": [line], "OrderItemCount": 1, "TaxRemittedBy": "Seller",
        "Exported": False, "DistributionCenterTypeRollup": "SellerManaged", "UserDataPresent": True,
        "ShippingAddress": ADDRESS, "TotalPrice": 5.0,
    } | other  # fmt: skip


def sample(system: str, path: str, *records: dict[str, Any]) -> Sample:
    return Sample(declared(system)[path], records)


def found(*samples: Sample) -> dict[str, Finding]:
    return {one.name: one for one in survey.findings(samples)}


def orders(*records: dict[str, Any]) -> dict[str, Finding]:
    return found(sample("channel_advisor", "orders", *records))


def open_(findings: dict[str, Finding]) -> set[str]:
    return {name for name, one in findings.items() if one.state == "open"}


def test_a_right_record_leaves_nothing_to_decide() -> None:
    assert open_(orders(order())) == set()


def test_an_unknown_field_is_found_by_its_path_and_without_its_value() -> None:
    lines = [{**order()["OrderItems"][0], "Colour": "of Ada"}]
    findings = orders(order(Loyalty={"Tier": "Gold of Ada"}, OrderItems=lines), order(Loyalty=None))
    assert {
        "unknown_field:channel_advisor.orders:Loyalty",
        "unknown_field:channel_advisor.orders:OrderItems.Colour",
    } <= open_(findings)
    one = findings["unknown_field:channel_advisor.orders:Loyalty"]
    assert one.records == 2
    assert "of Ada" not in repr(findings)


def test_a_record_against_the_contract_is_found_without_the_value() -> None:
    findings = orders(order(OrderStatus=5, ShippingAddress={**ADDRESS, "City": 12}))
    assert any(name.startswith("contract:channel_advisor.orders:OrderStatus:") for name in open_(findings))
    assert any(one.field.startswith("ShippingAddress") for one in findings.values() if one.name.startswith("contract:"))
    assert "Albany" not in repr(findings)


def test_unknown_values_of_lookups_come_with_a_row_and_the_nearest_ones() -> None:
    findings = orders(
        order(PaymentStatus="Clearedd"), order(PaymentStatus="Clearedd"), order(OrderStatus="Backordered")
    )
    one = findings["unknown_value:payment_status:Clearedd"]
    assert (one.records, one.state) == (2, "open")
    assert one.proposal
    assert one.proposal.path == "lookups/payment_status.csv"
    assert one.proposal.text == "Clearedd,Paid,"
    assert one.proposal.sure
    assert "Most like it: Cleared" in one.found
    assert "unknown_value:order_status:Backordered" in open_(findings)


def test_unknown_sites_countries_and_currencies_come_with_lines() -> None:
    company = sample("tims", "company", {"CompanyName": "L", "TimeZone": "UTC", "BaseCurrency": "GBP",
                                         "FiscalYearStart": "01-01"})  # fmt: skip
    strange = order(SiteID=999, SiteName="Shop: new", Currency="NOK", ShippingAddress={**ADDRESS, "Country": "Utopia"})
    findings = found(sample("channel_advisor", "orders", strange, order(Currency="EUR")), company)
    assert open_(findings) == {"unknown_site:999", "no_rate:NOK", "unknown_value:countries:Utopia"}
    assert findings["unknown_site:999"].proposal.text == '  999:\n    channel: "Shop: new"\n'  # type: ignore[union-attr]
    assert findings["no_rate:NOK"].proposal.text == "NOK,,,"  # type: ignore[union-attr]


def test_the_proposed_lines_of_a_site_are_taken_by_its_file(config: Path) -> None:
    from crossdock.rules import settings as rule_settings

    proposal = orders(order(SiteID=999, SiteName='A "strange": name #1'))["unknown_site:999"].proposal
    assert proposal
    file = config / proposal.path
    file.write_text(file.read_text() + proposal.text)
    assert rule_settings.load().sites[999].channel == 'A "strange": name #1'


def test_unknown_carriers_centers_locations_and_accounts_are_found(config: Path) -> None:
    (config / "accounts.yaml").write_text((config / "accounts.yaml").read_text().replace("FX: 6910", "FX: 6919"))
    centers = {"Code": "MAIN"}, {"Code": "NORTH"}, {"Code": "OLD", "IsDeleted": True}
    held = [{"LocationID": "EAST"}, {"LocationID": "MAIN"}]
    codes = [str(code) for code in (1000, 1100, 1150, 1160, 1180, 1200, 2200, 2210, 2400, 4000, 4010, 4020, 4100, 4200,
                                    5000, 5100, 6100, 6110, 6120, 6130, 6150, 6190, 6900, 6910, 7000)]  # fmt: skip
    findings = found(
        sample("tims", "shipments", {"Carrier": "Owl Post", "ServiceLevel": None}, {"Carrier": "owl  post"}),
        sample("channel_advisor", "distribution-centers", *centers),
        sample("tims", "inventory/quantities", {"SKU": "LAMP", "Locations": held}),
        sample("tims", "gl/accounts", *({"AccountCode": code} for code in codes)),
    )  # fmt: skip
    named = {name for name in open_(findings) if not name.startswith("contract:")}
    assert named == {
        "unknown_value:carriers:Owl Post/", "unknown_value:carriers:owl  post/", "unknown_center:FBA",
        "unfed_center:NORTH", "unoffered_location:EAST", "unknown_account:6919",
    }  # fmt: skip
    assert findings["unknown_value:carriers:Owl Post/"].proposal.text == "Owl Post,,,"  # type: ignore[union-attr]


def test_a_field_that_a_mapping_reads_and_that_never_comes_is_a_note() -> None:
    findings = orders(order())
    one = findings["never_seen:channel_advisor.orders:BillingAddress.City"]
    assert one.state == "note"
    assert "is read by customer.yaml" in one.found
    assert "never_seen:channel_advisor.orders:ShippingAddress.City" not in findings
    assert findings["tax_types:587 Web Shop"].found.startswith("Site 587 Web Shop: none given 1.")


def test_a_list_that_cannot_be_read_is_open() -> None:
    unread = Sample(declared("tims")["shipments"], (), "TIMS forbids it. Give the right.")
    assert "TIMS forbids it" in found(unread)["unreadable:tims.shipments"].found


def test_what_somebody_has_decided_is_open_no_more_and_keeps_its_reason() -> None:
    from datetime import UTC, datetime

    findings = survey.findings([sample("channel_advisor", "orders", order(SiteID=999))])
    names = ("unknown_site:999", "tax_types:999 Web Shop")
    decisions = {name: Decision(name, "ada", datetime.now(UTC), "A test shop.") for name in names}
    after = {one.name: one for one in survey.with_decisions(findings, decisions)}
    assert (after["unknown_site:999"].state, after["unknown_site:999"].why) == ("decided", "A test shop. (ada)")
    assert after["tax_types:999 Web Shop"].state == "note"


def test_a_sample_is_shown_without_personal_data_and_without_unknown_fields() -> None:
    shown = sample("channel_advisor", "orders", order(Loyalty="of Ada")).shown()
    assert shown["SiteID"] == 587
    assert "Ada" not in repr(shown)
    assert "Albany" not in repr(shown)


def test_a_field_that_the_contract_requires_and_that_does_not_come_is_named() -> None:
    record = order()
    del record["ImportDate"]
    assert open_(orders(record)) == {"contract:channel_advisor.orders:ImportDate:required"}


def test_unknown_fields_of_another_api_are_those_of_its_own_entity_and_what_cannot_be_made_is_counted() -> None:
    received = {"ID": 7, "Novelty": "of Ada", "Items@odata.nextLink": "x", "Items": [{"ID": 1, "Colour": "red"}]}
    one = Sample(
        declared("channel_advisor")["orders"], (order(),), received=(received, {"ID": 8, "Novelty": None}),
        received_as=("channel_advisor_v1", "Order"), unmade={("TotalPrice", "does_not_add_up", "Ask somebody."): 3},
    )  # fmt: skip
    findings = found(one)
    assert open_(findings) == {
        "unknown_field:channel_advisor.orders:Novelty", "unknown_field:channel_advisor.orders:Items.Colour",
        "unmade:channel_advisor.orders:does_not_add_up:TotalPrice",
    }  # fmt: skip
    assert findings["unknown_field:channel_advisor.orders:Novelty"].records == 2
    assert findings["unmade:channel_advisor.orders:does_not_add_up:TotalPrice"].records == 3
    assert "Ada" not in repr(findings)


def test_what_cannot_be_made_for_a_site_or_a_state_names_it_and_nothing_of_a_person() -> None:
    unmade = [
        Unmade("7", b"{}", "SiteID", "remitter_unknown", "Nobody has said who pays the tax of site 99912 on.", "Say."),
        Unmade("8", b"{}", "BuyerEmailAddress", "wrong_type", "It is Ada.", "Correct it."),
    ]
    page = Page([], datetime(2011, 1, 4, tzinfo=UTC), 1, unmade=unmade)
    client: Any = SimpleNamespace(received_as=lambda _: ("channel_advisor_v1", "Order"))
    findings = found(of_pages(client, declared("channel_advisor")["orders"], [page], 10))
    assert "site 99912" in findings["unmade:channel_advisor.orders:remitter_unknown:SiteID"].found
    assert "Ada" not in repr(findings)


def test_variants_of_a_known_value_come_with_its_row() -> None:
    """Upper and lower case, blanks and hyphens: another word for the lookup, the same thing for a person."""
    written = ("cleared", "CLEARED", "Pending Shipment")
    findings = orders(*(order(PaymentStatus=one) for one in written[:2]), order(OrderStatus="on hold"))
    for value in written[:2]:
        one = findings[f"unknown_value:payment_status:{value}"]
        assert one.proposal is not None
        assert (one.proposal.text, one.proposal.sure) == (f"{value},Paid,", True)
    held = findings["unknown_value:order_status:on hold"].proposal
    assert held is not None
    assert (held.text.split(",")[:2], held.sure) == (["on hold", "OnHold"], True)


def v1_orders(*received: dict[str, Any]) -> Sample:
    return Sample(
        declared("channel_advisor")["orders"],
        (order(),),
        received=received,
        received_as=("channel_advisor_v1", "Order"),
    )


def test_a_flag_that_nobody_named_comes_with_a_row_and_is_taken_for_no_other() -> None:
    findings = found(v1_orders({"ID": 7, "FlagID": 12}, {"ID": 8, "FlagID": 1}))
    assert {name for name in open_(findings) if name.startswith("unknown_value")} == {
        "unknown_value:channel_advisor_v1_flags:12"
    }
    one = findings["unknown_value:channel_advisor_v1_flags:12"]
    assert one.proposal is not None
    assert (one.proposal.text, one.proposal.sure) == ("12,", False)
    assert "dead letters until then" in one.do


def test_states_that_no_row_fits_come_with_a_row() -> None:
    received = b'{"ID":7,"CheckoutStatus":"Completed","PaymentStatus":"Cleared","ShippingStatus":"Lost","Buyer":"Ada"}'
    unmade = [Unmade("7", received, "CheckoutStatus", "unknown_status", "No row fits the statuses.", "Add a row.")]
    client: Any = SimpleNamespace(received_as=lambda _: ("channel_advisor_v1", "Order"))
    pages = [Page([], datetime(2011, 1, 4, tzinfo=UTC), 1, unmade=unmade)]
    findings = found(of_pages(client, declared("channel_advisor")["orders"], pages, 10))
    one = findings["unknown_states:Completed / Cleared / Lost"]
    assert one.proposal is not None
    assert (one.proposal.path, one.proposal.text) == (
        "lookups/channel_advisor_v1_status.csv", "Completed,Cleared,Lost,*,,"
    )  # fmt: skip
    assert "Ada" not in repr(findings)


def test_a_code_of_an_adapted_tims_that_its_file_does_not_know_is_found(config: Path) -> None:
    file = config / "tims.yaml"
    file.write_text(file.read_text().replace("\ncodes: {}", "\ncodes: {OrderStatus: {Open: NEW, OnHold: HELD}}"))
    states = ("Open", "held", "XY")  # as the adapted client gives them: what it knows is the contract's
    findings = found(sample("tims", "sales-orders", *({"SalesOrderID": "1", "OrderStatus": one} for one in states)))
    codes = {name for name in open_(findings) if name.startswith("unknown_code:")}
    assert codes == {"unknown_code:OrderStatus:held", "unknown_code:OrderStatus:XY"}
    one = findings["unknown_code:OrderStatus:held"]
    assert "Most like it: HELD (OnHold)" in one.found
    assert one.where == "include/config/tims.yaml"


PERSONAL = {
    "name": "Xaver Quibble", "mail": "xaver@quibble.example", "phone": "+44 7700 900123", "street": "77 Quibble Mews",
    "city": "Quibbleton", "postal": "QQ7 7QQ", "gift": "Happy birthday Quibble", "note": "Ring Quibble twice",
}  # fmt: skip


def test_nothing_that_may_be_about_a_person_stands_in_what_is_found_or_shown() -> None:
    """Each of these stands where it belongs, where the contract has no field, where the type is wrong, and where a
    person may have typed it by mistake."""
    p = PERSONAL
    address = {"Name": p["name"], "Line1": p["street"], "City": p["city"], "PostalCode": p["postal"],
               "Country": f"{p['street']}, {p['city']}", "Region": p["city"]}  # fmt: skip
    line = {**order()["OrderItems"][0], "GiftMessage": p["gift"], "GiftNotes": p["note"]}
    record = order(
        ShippingAddress=address, BillingAddress=[p["street"]], OrderItems=[line], SpecialInstructions=p["note"],
        PublicNotes=p["note"], PrivateNotes=p["note"], BuyerEmailAddress=p["mail"], SellerOrderID=[p["name"]],
        CustomerInfo={"FirstName": p["name"], "Email": p["mail"], "Phone": [p["phone"]], "Nickname": p["name"]},
    )  # fmt: skip
    customer = {"CustomerID": "1", "Name": p["name"], "Email": p["mail"], "Phone": p["phone"], "Comment": p["note"],
                "Address": {"Line1": p["street"], "City": p["city"]}, "Birthday": p["note"], "Status": 7}  # fmt: skip
    received = {
        "ID": 7, "ShippingLastName": p["name"], "ShippingCity": p["city"], "BuyerEmailAddress": p["mail"],
        "SpecialInstructions": p["note"], "Items": [{"ID": 1, "GiftMessage": p["gift"]}], "Extra": p["note"],
    }  # fmt: skip
    read = [
        Sample(declared("channel_advisor")["orders"], (record,), received=(received,),
               received_as=("channel_advisor_v1", "Order")),
        sample("channel_advisor", "orders", record),
        sample("tims", "customers", customer),
    ]  # fmt: skip
    findings = [one for each in read for one in survey.findings([each])]
    assert findings
    text = repr(findings) + repr([one.shown() for one in read])
    for kind, value in PERSONAL.items():
        assert value not in text, kind
    assert "Quibble" not in text
    assert "no_country" in {one.name for one in findings}
