"""The edge table of order to cash, row by row, through the whole of the rules."""

from __future__ import annotations

import pandas as pd
import pytest

from crossdock.mapping.frames import SCALE
from rules_examples import Together, config, line, order, reasons, reference_data, run, sentence


def cents(amount: float) -> int:
    return round(amount * SCALE)


def test_a_good_order_loads_without_a_word():
    result = run(order())
    header = result.header.iloc[0]
    assert (header["verdict"], reasons(result), len(result.warnings)) == ("load", [], 0)
    assert header["ExternalOrderID"] == "1001"
    assert header["Channel"] == "Amazon US"
    assert header["TotalAmount"] == cents(10)
    assert header["ShippingMethod"] == "UPS Ground"
    assert list(result.lines["ExternalLineID"]) == ["501"]
    assert list(result.customers["customer_key"]) == ["12345678:640:A1B2C3"]


TOO_LONG = [
    ({"ShippingAddress": {"Name": "N" * 61}}, "ShippingAddress.Name"),
    ({"ShippingAddress": {"Company": "C" * 61}}, "ShippingAddress.Company"),
    ({"ShippingAddress": {"City": "C" * 41}}, "ShippingAddress.City"),
    (
        {"ShippingAddress": {"Region": "R" * 41, "Country": "GB", "PostalCode": "SW1A 1AA"}},
        "ShippingAddress.Region",
    ),
    ({"CustomerInfo": {"FirstName": "F" * 41}}, "CustomerInfo.FirstName"),
    ({"CustomerInfo": {"LastName": "L" * 41}}, "CustomerInfo.LastName"),
    ({"CustomerInfo": {"Company": "C" * 61}}, "CustomerInfo.Company"),
    ({"RequestedShippingClass": "S" * 61}, "RequestedShippingClass"),
    ({"SiteID": 9, "SiteName": "S" * 41}, "SiteName"),
    ({"ShippingAddress": {"Line1": "L" * 61, "Line2": None}}, "ShippingAddress.Line1"),
    ({"ShippingAddress": {"Line1": "a street " * 14, "Line2": None}}, "ShippingAddress.Line1"),
]
TOO_LONG_TEXTS = Together({str(changes): order(**changes) for changes, _ in TOO_LONG})


@pytest.mark.parametrize(("changes", "field"), TOO_LONG)
def test_a_text_longer_than_tims_takes_is_a_dead_letter(changes, field):
    found = TOO_LONG_TEXTS[str(changes)].problems
    assert list(found["rule"]) == ["text_too_long"]
    assert list(found["field"]) == [field]


def test_a_long_street_is_spread_over_two_lines_at_words_without_losing_a_character():
    street = "Unit 4, The Old Tannery Business Park, Off The Main Road, 17 Elm Street"
    header = run(order(ShippingAddress={"Line1": street, "Line2": "Apt 4"})).header.iloc[0]
    first, second = header["ShipTo.Line1"], header["ShipTo.Line2"]
    assert f"{first} {second}" == f"{street} Apt 4"
    assert max(len(first), len(second)) <= 60


def test_notes_are_cut_at_a_word_and_say_so():
    result = run(order(SpecialInstructions="please ring " * 60))
    notes = result.header["Notes"][0]
    assert len(notes) <= 500
    assert notes.startswith("Order 114-1. please ring")
    assert notes.endswith(("please…", "ring…"))
    assert list(result.warnings["rule"]) == ["notes_cut"]
    assert reasons(result) == []


def test_an_unreadable_phone_or_email_is_left_out_with_a_warning_and_the_order_loads():
    result = run(order(CustomerInfo={"Phone": "n/a", "Email": "nobody at example.com"}))
    header = result.header.iloc[0]
    assert pd.isna(header["Customer.Phone"])
    assert pd.isna(header["Customer.Email"])
    assert sorted(result.warnings["rule"]) == ["email_unreadable", "phone_unreadable"]
    assert (header["verdict"], reasons(result)) == ("load", [])


def test_control_characters_go_before_anything_else_and_all_others_stay():
    result = run(order(ShippingAddress={"Name": "Zoë\u0000 \u200bŁukasz\t", "City": "Al\ufeffbany"}))
    assert result.header["ShipTo.Name"][0] == "Zoë Łukasz"
    assert result.header["ShipTo.City"][0] == "Albany"
    assert list(result.warnings["rule"]) == ["control_characters"] * 2
    assert "U+0000" in result.warnings["value"][0]
    assert "Łukasz" not in result.warnings["says"].str.cat()


STREETS = [
    (("Fakestreet\n123", None), ("Fakestreet", "123")),
    (("12\r\n4 Elm Street", ""), ("12", "4 Elm Street")),
    ((None, "12\n4 Elm Street"), ("12", "4 Elm Street")),
    (("12\t4 Elm Street", "Apt 4"), ("12 4 Elm Street", "Apt 4")),
    (("12 Elm Street", "Apt 4\nBack door"), ("12 Elm Street", "Apt 4 Back door")),
    (("Unit 4\nOld Mill\nElm Street", None), ("Unit 4", "Old Mill Elm Street")),
    (("\n12 Elm Street\n", None), ("12 Elm Street", None)),
    (("U " * 40 + "\n5 Elm Street", None), (("U " * 30).strip(), "U " * 10 + "5 Elm Street")),
]
IN_STREETS = Together(
    {
        (address, lines): order(
            **{address: order()["ShippingAddress"] | dict(zip(("Line1", "Line2"), lines, strict=True))}
        )
        for address in ("ShippingAddress", "BillingAddress")
        for lines, _ in STREETS
    }
)


@pytest.mark.parametrize(("lines", "street"), STREETS)
@pytest.mark.parametrize("address", ["ShippingAddress", "BillingAddress"])
def test_a_break_in_a_street_is_a_new_line_where_one_is_free_and_else_a_blank(address, lines, street):
    result = IN_STREETS[address, lines]
    prefix = {"ShippingAddress": "ShipTo", "BillingAddress": "BillTo"}[address]
    found = tuple(None if pd.isna(v) else v for v in result.header.loc[0, [f"{prefix}.Line1", f"{prefix}.Line2"]])
    assert (found, reasons(result)) == (street, [])
    assert list(result.warnings["rule"]) == ["control_characters"]


def test_a_break_or_tab_in_any_other_text_is_a_blank():
    address = {"Name": "Ana\nOrtiz", "City": "New\tYork", "Company": "A\u2028B"}
    result = run(
        order(ShippingAddress=address, SpecialInstructions="Ring\ntwice", CustomerInfo={"LastName": "de\nOrtiz"})
    )
    header = result.header.iloc[0]
    assert [header[f"ShipTo.{part}"] for part in address] == ["Ana Ortiz", "New York", "A B"]
    assert header["Customer.Name"] == "Ana de Ortiz"
    assert header["Notes"].endswith("Ring twice")
    assert list(result.warnings["rule"]) == ["control_characters"] * 5


def test_blanks_around_a_value_are_trimmed_sku_included():
    result = run(order(ShippingAddress={"City": "  Albany "}, OrderItems=[line(SKU=" MUG ")]))
    assert result.header["ShipTo.City"][0] == "Albany"
    assert list(result.lines["SKU"]) == ["MUG"]


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_without_carrier_and_service_the_sites_default_method_is_used(nothing):
    plain = order(RequestedShippingCarrier=nothing, RequestedShippingClass=nothing)
    assert run(plain).header["ShippingMethod"][0] == "Standard"
    assert run(plain, settings=config(shipping_method="Parcel")).header["ShippingMethod"][0] == "Parcel"


def test_one_half_of_carrier_and_service_is_enough():
    assert run(order(RequestedShippingCarrier=None)).header["ShippingMethod"][0] == "Ground"


def test_a_country_that_no_lookup_knows_is_a_dead_letter():
    result = run(order(ShippingAddress={"Country": "European Community"}))
    assert reasons(result) == ["country_unknown"]
    assert '"European Community"' in sentence(result, "country_unknown")


def test_a_postal_code_that_its_country_does_not_have_is_a_dead_letter():
    result = run(order(ShippingAddress={"PostalCode": "1220"}))
    assert reasons(result) == ["postal_code_invalid"]
    assert "95014" in sentence(result, "postal_code_invalid")


def test_a_total_that_is_not_the_sum_of_its_parts_is_a_dead_letter_with_both_numbers():
    result = run(order(TotalPrice="11.0000"))
    assert reasons(result) == ["total_mismatch"]
    assert "11.00 USD" in sentence(result, "total_mismatch")
    assert "10.00 USD" in sentence(result, "total_mismatch")


def test_a_difference_that_rounding_unit_prices_explains_is_accepted_and_kept():
    lines = [line(1, Quantity=3, UnitPrice="1.3333"), line(2, Quantity=7, UnitPrice="0.1111")]
    result = run(order(OrderItems=lines, TotalPrice="4.7776"))
    assert reasons(result) == []
    assert result.header["TotalAmount"][0] == cents(4.78)
    assert result.header["rounding_difference"][0] == 24
    rounded = run(order(OrderItems=lines, TotalPrice="4.78"))
    assert (reasons(rounded), rounded.header["rounding_difference"][0]) == ([], 0)


def test_a_difference_as_large_as_half_a_cent_a_line_is_not_explained():
    lines = [line(1, Quantity=3, UnitPrice="1.3333"), line(2, Quantity=7, UnitPrice="0.1111")]
    assert reasons(run(order(OrderItems=lines, TotalPrice="4.7700"))) == ["total_mismatch"]
    assert reasons(run(order(OrderItems=lines, TotalPrice="4.7701"))) == []


def test_whole_cents_never_excuse_a_difference():
    lines = [line(1), line(2), line(3)]
    assert reasons(run(order(OrderItems=lines, TotalPrice="30.0100"))) == ["total_mismatch"]


def test_a_header_discount_above_the_goods_goes_on_to_the_shipping():
    result = run(order(TotalShippingPrice="6.00", TotalDiscount="13.00", TotalPrice="3.00"))
    header = result.header.iloc[0]
    assert reasons(result) == []
    assert header["ShippingDiscountAmount"] == cents(3)
    assert list(result.lines["DiscountAmount"]) == [cents(10)]
    assert (header["DiscountTotal"], header["TotalAmount"]) == (cents(13), cents(3))


def test_a_discount_above_goods_and_shipping_together_is_a_dead_letter():
    result = run(order(TotalShippingPrice="2.00", TotalDiscount="13.00", TotalPrice="-1.00"))
    assert reasons(result) == ["discount_above_goods"]


def test_only_the_part_of_a_header_amount_that_lines_do_not_carry_is_spread():
    lines = [line(1, TaxAmount="1.00"), line(2), line(3)]
    result = run(order(OrderItems=lines, TotalTaxPrice="2.00", TotalPrice="32.00"))
    assert list(result.lines["TaxAmount"]) == [cents(1.34), cents(0.33), cents(0.33)]
    assert result.header["TaxTotal"][0] == cents(2)


HEADERS = [
    ("TotalTaxPrice", "TaxAmount"),
    ("TotalDiscount", "DiscountAmount"),
    ("TotalShippingPrice", "ShippingAmount"),
    ("TotalShippingTaxPrice", "ShippingTaxAmount"),
]
ABOVE = Together(
    {
        header: order(
            OrderItems=[line(**{own: "2.00"})],
            **{header: "1.00"},
            TotalPrice="9.00" if header == "TotalDiscount" else "11.00",
        )
        for header, own in HEADERS
    }
)


@pytest.mark.parametrize("header", ABOVE)
def test_lines_above_their_header_are_a_dead_letter(header):
    result = ABOVE[header]
    assert reasons(result) == ["line_above_header"]
    assert "2.00" in sentence(result, "line_above_header")
    assert "1.00" in sentence(result, "line_above_header")


def test_a_currency_without_decimals_loads():
    yen = order(Currency="JPY", OrderItems=[line(UnitPrice="600")], TotalPrice="1200")
    result = run(yen)
    assert (reasons(result), result.header["TotalAmount"][0]) == ([], cents(1200))


@pytest.mark.parametrize("where", ["head", "line"])
def test_an_amount_with_a_third_decimal_is_a_dead_letter(where):
    changes = {"TotalTaxPrice": "1.005", "TotalPrice": "11.005"}
    if where == "line":
        changes |= {"TotalTaxPrice": "1.0050", "OrderItems": [line(TaxAmount="1.005")]}
    result = run(order(**changes))
    assert set(reasons(result)) == {"third_decimal"}


REFUSED = [
    ({"OrderItems": [line(Quantity=0)], "TotalPrice": "0"}, "quantity_below_one"),
    ({"OrderItems": [line(Quantity=-1)], "TotalPrice": "-5"}, "quantity_below_one"),
    ({"OrderItems": [line(UnitPrice="-5")], "TotalPrice": "-10"}, "negative_price"),
    ({"OrderItems": [], "TotalPrice": "0"}, "no_lines"),
    ({"OrderStatus": "Teleported"}, "unknown_status"),
    ({"PaymentStatus": "Bartered"}, "unknown_payment_status"),
    ({"TaxRemittedBy": "Nobody"}, "unknown_value"),
    ({"OrderItems": [line(SKU="STOP")]}, "item_blocked"),
    ({"OrderItems": [line(SKU="NOWHERE-AT-ALL")]}, "unknown_sku"),
    ({"OrderItems": [line(SKU="Twin")]}, "ambiguous_sku"),
    ({"OrderItems": [line(SKU="M")]}, "code_rejected"),
    ({"OrderItems": [line(SKU="S")]}, "code_rejected"),
    ({"Currency": None}, "currency_missing"),
    ({"Currency": "XYZ"}, "currency_unknown"),
    ({"TotalPrice": None}, "missing_field"),
    ({"OrderItems": [line(UnitPrice=None)], "TotalPrice": "0"}, "missing_field"),
    ({"ShippingAddress": {"Name": None}}, "missing_field"),
    ({"ShippingAddress": {"City": ""}}, "missing_field"),
    ({"ShippingAddress": {"Line1": None, "Line2": None}}, "missing_field"),
    ({"ShippingAddress": {"Country": None}}, "missing_field"),
    ({"ShippingAddress": {"Region": "Atlantis"}}, "region_unknown"),
    ({"OrderItems": [line(QuantityShipped=2, QuantityCancelled=1)]}, "units_do_not_add_up"),
    ({"OrderItemCount": 21}, "lines_incomplete"),
    ({"OrderItems": [line(UnitPrice="90000000000000", Quantity=9999999)]}, "amount_too_large"),
    ({"UserDataPresent": False, "ShippingAddress": None, "CustomerInfo": None}, "personal_data_gone"),
    (
        {"OrderItems": [line(n, Quantity=1, UnitPrice="1") for n in range(501)], "TotalPrice": "501"},
        "too_many_lines",
    ),
]
WITH_REASONS = Together({str(changes): order(**changes) for changes, _ in REFUSED})


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_what_cannot_be_loaded_is_a_dead_letter_for_its_true_reason_alone(changes, reason):
    result = WITH_REASONS[str(changes)]
    assert result.header["verdict"][0] == "load"
    assert reasons(result) == [reason]
    assert (result.problems["says"].str.len() > 15).all()
    assert (result.problems["do"].str.len() > 15).all()
    assert not result.problems["says"].str.contains(r"[{}]").any()


def test_all_reasons_of_a_record_come_together():
    bad = order(
        OrderStatus="Teleported",
        Currency=None,
        OrderItems=[line(1, SKU="STOP"), line(2, SKU="NOWHERE-AT-ALL", Quantity=0)],
        ShippingAddress={"Country": "Unspecified", "Name": None},
        TotalPrice="99.00",
    )
    assert reasons(run(bad)) == [
        "country_unknown",
        "currency_missing",
        "item_blocked",
        "missing_field",
        "quantity_below_one",
        "total_mismatch",
        "unknown_sku",
        "unknown_status",
    ]


def test_one_bad_record_does_not_stop_the_others():
    result = run(order(1), order(2, Currency=None), order(3))
    assert [reasons(result, row) for row in range(3)] == [[], ["currency_missing"], []]


def test_a_discontinued_item_loads():
    assert reasons(run(order(OrderItems=[line(SKU="OLD")]))) == []


def test_a_free_order_and_a_free_line_load():
    free = run(order(OrderItems=[line(UnitPrice="0")], TotalPrice="0"))
    assert (reasons(free), free.header["TotalAmount"][0]) == ([], 0)
    assert reasons(run(order(OrderItems=[line(1), line(2, UnitPrice="0")]))) == []


def test_a_site_that_no_configuration_names_loads_with_the_defaults_and_is_named_once():
    result = run(order(1, SiteID=77, SiteName="New Site"), order(2, SiteID=77, SiteName="New Site"), order(3))
    assert list(result.header["Channel"]) == ["New Site", "New Site", "Amazon US"]
    assert list(result.warnings["rule"]) == ["site_not_configured", "tax_not_told"]
    assert result.warnings["value"][0] == "77"
    assert len(result.problems) == 0


def test_a_pending_order_waits_however_incomplete_it_is():
    nothing = order(
        OrderStatus="Pending", PaymentStatus="NotYetSubmitted", ShippingAddress=None, Currency=None, TotalPrice=None
    )
    result = run(nothing)
    assert result.header["verdict"][0] == "wait"
    assert "pending" in result.header["verdict_reason"][0]
    assert len(result.problems) == 0


@pytest.mark.parametrize("payment", ["Submitted", "NotYetSubmitted"])
@pytest.mark.parametrize(
    ("import_rule", "verdict", "status"),
    [("hold", "load", "OnHold"), ("always", "load", "Open"), ("only_paid", "wait", "OnHold")],
)
def test_an_unpaid_order_holds_loads_or_waits_by_the_sites_rule(payment, import_rule, verdict, status):
    result = run(order(PaymentStatus=payment), settings=config(import_rule=import_rule))
    assert (result.header["verdict"][0], result.header["TimsOrderStatus"][0]) == (verdict, status)
    assert result.header["TimsPaymentStatus"][0] == "Unpaid"


def test_an_order_cancelled_before_it_was_loaded_is_left_out_whatever_else_is_wrong():
    result = run(order(OrderStatus="Cancelled", ShippingAddress=None))
    assert result.header["verdict"][0] == "leave_out"
    assert result.header["verdict_reason"][0] == "cancelled before it was loaded"
    assert len(result.problems) == 0


def test_an_order_cancelled_after_it_was_loaded_cancels_what_is_not_shipped():
    lines = [line(1, Quantity=3, QuantityShipped=1), line(2, Quantity=2)]
    result = run(order(OrderStatus="Cancelled", OrderItems=lines, TotalPrice="25.00"), linked=(1001,))
    assert (result.header["verdict"][0], result.header["cancel_all"][0]) == ("load", True)
    assert list(result.lines["QuantityCancelled"]) == [2, 2]
    assert list(result.lines["QuantityShipped"]) == [1, 0]


def test_an_order_cancelled_in_part_loads_as_ordered_with_its_totals_as_sold():
    result = run(order(OrderItems=[line(Quantity=5, QuantityCancelled=2)], TotalPrice="25.00"))
    assert (list(result.lines["Quantity"]), list(result.lines["QuantityCancelled"])) == ([5], [2])
    assert result.header["TotalAmount"][0] == cents(25)
    assert reasons(result) == []


def test_an_older_version_after_a_newer_one_is_left_out():
    old, new = order(1, UpdatedDate="2026-03-01T11:00:00.5Z"), order(1, UpdatedDate="2026-03-01T11:00:00.51Z")
    assert list(run(new, old).header["verdict"]) == ["load", "leave_out"]
    assert list(run(old, old).header["verdict"]) == ["leave_out", "load"]
    seen = pd.Series({1001: "2026-03-01T11:00:00.5000001Z"})
    assert list(run(old, newest=seen).header["verdict"]) == ["leave_out"]
    assert list(run(new, newest=seen).header["verdict"]) == ["load"]


def test_personal_data_that_vanish_after_the_load_are_no_problem_and_say_so():
    gone = order(UserDataPresent=False, ShippingAddress=None, CustomerInfo=None)
    result = run(gone, linked=(1001,))
    header = result.header.iloc[0]
    assert (header["verdict"], reasons(result)) == ("load", [])
    assert not header["personal_data"]
    assert header["customer_action"] == "none"


def test_a_marketplace_fulfilled_order_loads_with_the_marketplaces_location_or_is_left_out_by_config():
    fulfilled = order(DistributionCenterTypeRollup="ExternallyManaged", FulfillmentStatus="ThirdPartyManaged")
    header = run(fulfilled).header.iloc[0]
    assert (header["verdict"], header["marketplace_fulfilled"], header["location"]) == ("load", True, "MARKETPLACE")
    left = run(fulfilled, settings=config(marketplace_fulfilled="leave_out")).header.iloc[0]
    assert left["verdict"] == "leave_out"
    assert "marketplace" in left["verdict_reason"]
    assert run(order()).header["location"][0] == "MAIN"


def test_several_or_inactive_customers_are_a_dead_letter_with_the_candidates():
    twins = reference_data(
        {"CustomerID": "C-1", "Name": "Ana One", "Email": "ana.ortiz@example.com"},
        {"CustomerID": "C-2", "Name": "Ana Two", "Email": "ANA.ORTIZ@example.com"},
    )
    result = run(order(), tims=twins)
    assert reasons(result) == ["customer_ambiguous"]
    assert "C-1 (Ana One)" in sentence(result, "customer_ambiguous")
    assert "C-2 (Ana Two)" in sentence(result, "customer_ambiguous")
    asleep = reference_data({"CustomerID": "C-1", "Status": "Inactive", "Email": "ana.ortiz@example.com"})
    assert reasons(run(order(), tims=asleep)) == ["customer_inactive"]


def test_timestamps_are_cut_to_microseconds_and_never_rounded():
    assert run(order(OrderDate="2026-03-01T10:00:00.9999999Z")).header["OrderedAt"][0] == "2026-03-01T10:00:00.999999Z"
    assert run(order(OrderDate="2026-03-01T10:00:00Z")).header["OrderedAt"][0] == "2026-03-01T10:00:00Z"


def test_an_empty_batch_is_no_trouble():
    result = run(order())
    nothing = run()
    assert len(nothing.header) == len(nothing.lines) == len(nothing.problems) == len(nothing.warnings) == 0
    assert list(nothing.header.columns) == list(result.header.columns)


def test_problems_never_say_what_the_buyer_is_called_or_where_the_buyer_lives():
    bad = order(ShippingAddress={"Name": "Secret " * 10, "PostalCode": "1220"}, CustomerInfo={"Phone": "secret"})
    result = run(bad)
    output = result.problems["says"].str.cat() + result.warnings["says"].str.cat()
    assert "Secret" not in output
    assert "secret" not in output


# ---- orders that the marketplace ships carry no person --------------------------------------------------------------

NOBODY = {
    "DistributionCenterTypeRollup": "ExternallyManaged",
    "FulfillmentStatus": "ThirdPartyManaged",
    "OrderStatus": "Shipped",
    "UserDataPresent": False,
    "CustomerInfo": None,
    "ShippingAddress": {"Name": None, "Line1": None, "Line2": None},
}


def test_an_order_that_the_marketplace_ships_needs_no_person():
    result = run(order(**NOBODY))
    header = result.header.iloc[0]
    assert (header["verdict"], reasons(result), header["location"]) == ("load", [], "MARKETPLACE")
    assert header["DeliverTo.Name"] == "Buyer of Amazon US"
    assert header["DeliverTo.Line1"]
    where = ("DeliverTo.City", "ShipTo.Region", "ShipTo.PostalCode", "ShipTo.CountryCode")
    place = [header[name] for name in where]
    assert place == ["Albany", "NY", "12207", "US"]
    assert pd.isna(header["BillTo.Line1"])


NOWHERE = {
    str(address): order(**NOBODY | {"ShippingAddress": None}) | {"ShippingAddress": address}
    for address in (None, {}, {"Country": ""}, {"Country": "Atlantis", "PostalCode": "?"})
}
ON_A_SITE = Together(NOWHERE)
ON_A_SITE_WITHOUT_COUNTRY = Together(NOWHERE, settings=config(country=None))


@pytest.mark.parametrize("address", NOWHERE)
def test_without_any_address_it_goes_to_the_country_of_its_site(address):
    result = ON_A_SITE[address]
    assert (reasons(result), result.header["ShipTo.CountryCode"][0]) == ([], "US")
    assert result.header["DeliverTo.City"][0]
    nowhere = ON_A_SITE_WITHOUT_COUNTRY[address]
    assert reasons(nowhere)[0] in ("country_unknown", "missing_field")
    assert "config/sites.yaml" in nowhere.problems["do"][0]


PARCELS = [
    ("PostalCode", "not one", "postal_code_invalid"),
    ("Region", "Bavaria", "region_unknown"),
    ("Name", "N" * 61, "text_too_long"),
    ("Line1", "L" * 61, "text_too_long"),
    ("City", "C" * 41, "text_too_long"),
]
PARCEL_OF = Together(
    {
        (part, by): order(
            DistributionCenterTypeRollup=by,
            ShippingAddress={part: value} | ({"Line2": None} if part == "Line1" else {}),
        )
        for part, value, _ in PARCELS
        for by in ("ExternallyManaged", "SellerManaged")
    }
)


@pytest.mark.parametrize(("part", "value", "warning"), PARCELS)
def test_what_a_parcel_would_need_is_a_warning_of_a_parcel_that_is_not_ours(part, value, warning):
    result = PARCEL_OF[part, "ExternallyManaged"]
    assert (reasons(result), list(result.warnings["rule"])) == ([], [warning])
    assert value not in result.header[f"ShipTo.{part}"].fillna("").tolist()
    assert reasons(PARCEL_OF[part, "SellerManaged"]) == [warning]


def test_an_order_that_we_ship_needs_its_address_and_its_person_as_ever():
    ours = NOBODY | {"DistributionCenterTypeRollup": "SellerManaged", "FulfillmentStatus": "Unshipped"}
    assert reasons(run(order(**ours))) == ["personal_data_gone"]
    mixed = ours | {"DistributionCenterTypeRollup": "Mixed"}
    assert reasons(run(order(**mixed))) == ["personal_data_gone"]


def test_words_that_stand_in_for_an_address_never_replace_one_that_tims_has():
    header = run(order(**NOBODY), linked=(1001,)).header.iloc[0]
    assert pd.isna(header["DeliverTo.Line1"])
