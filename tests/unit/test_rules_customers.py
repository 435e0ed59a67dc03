"""One buyer, one customer: found, created once, or asked about."""

from __future__ import annotations

import pandas as pd
import pytest

from rules_examples import (
    BUYER,
    config,
    customer,
    external,
    order,
    reasons,
    reference_data,
    run,
    sentence,
    tims_address,
)

RELAY = "x7k2p9@marketplace.amazon.com"
MINE = external("12345678:640:A1B2C3")
ADDRESSED = {"ShippingAddresses": [tims_address()]}


def decided(result) -> list[tuple]:
    columns = result.header[["customer_action", "CustomerID", "customer_key", "customer_match"]]
    return [tuple(None if pd.isna(v) else v for v in row) for row in columns.itertuples(index=False)]


def guest(**changes):
    return {"CustomerID": None} | changes


@pytest.mark.parametrize(
    ("held", "match"),
    [
        ({"ExternalIDs": MINE}, "external"),
        ({"Email": "Ana.Ortiz@EXAMPLE.com"}, "email"),
        ({"Phone": "+12125550147", **ADDRESSED}, "phone_postal"),
        ({"Phone": "+12125550147", "BillingAddress": tims_address()}, "phone_postal"),
        ({"Name": "ANA ORTÍZ", **ADDRESSED}, "name_address"),
        (
            {"Name": "Ana Ortiz", "BillingAddress": tims_address(Line1="12, ELM ST.", Line2="apt 4", City="albany")},
            "name_address",
        ),
    ],
)
def test_a_customer_is_found_by_each_kind_of_key(held, match):
    assert decided(run(order(), tims=reference_data(held))) == [("use", "C-1", None, match)]


@pytest.mark.parametrize(
    "held",
    [
        {"ExternalIDs": external("12345678:641:A1B2C3")},
        {"ExternalIDs": external("99:640:A1B2C3")},
        {"ExternalIDs": [{"Source": "Elsewhere", "ID": "12345678:640:A1B2C3"}]},
        {"Phone": "+12125550147"},
        {"Phone": "+12125550147", "ShippingAddresses": [tims_address(PostalCode="12208")]},
        {"Name": "Ana Ortiz", "ShippingAddresses": [tims_address(Line1="13 Elm St")]},
        {"Name": "Ana Ortega", **ADDRESSED},
    ],
)
def test_what_is_not_alike_is_nobody(held):
    assert decided(run(order(), tims=reference_data(held))) == [("create", None, "12345678:640:A1B2C3", None)]


def test_the_stronger_key_decides():
    people = reference_data({"ExternalIDs": MINE}, {"CustomerID": "C-2", "Email": "ana.ortiz@example.com"})
    assert decided(run(order(), tims=people)) == [("use", "C-1", None, "external")]


def test_a_relay_address_is_somebody_on_its_own_site_only():
    held = {"Email": RELAY, "ExternalIDs": external("12345678:640:OTHER")}
    nobody_else = {"CustomerID": None, "Phone": None, "FirstName": "Bob", "Email": RELAY}
    same = order(CustomerInfo=nobody_else, ShippingAddress={"Line1": "9 Oak St"})
    assert decided(run(same, tims=reference_data(held))) == [("use", "C-1", None, "email")]
    other = same | {"SiteID": 641}
    assert decided(run(other, tims=reference_data(held)))[0][0] == "create"
    unknown_site = reference_data({"Email": RELAY})
    assert decided(run(same, tims=unknown_site))[0][0] == "create"


def test_a_buyer_with_another_id_on_the_same_site_is_a_weak_match_by_phone_or_address():
    held = {"ExternalIDs": external("12345678:640:OTHER"), "Name": "Ana Ortiz", "Phone": "+12125550147", **ADDRESSED}
    result = run(order(), tims=reference_data(held))
    assert reasons(result) == ["customer_ambiguous"]
    assert "another buyer id on this site" in sentence(result, "customer_ambiguous")
    assert decided(result)[0][:2] == ("ask", None)
    elsewhere = {**held, "ExternalIDs": external("12345678:641:OTHER")}
    assert decided(run(order(), tims=reference_data(elsewhere))) == [("use", "C-1", None, "phone_postal")]


def test_several_by_one_key_are_a_question_with_at_most_five_candidates():
    people = [{"CustomerID": f"C-{n}", "Name": f"Ana {n}", "Email": "ana.ortiz@example.com"} for n in range(7)]
    result = run(order(), tims=reference_data(*people))
    assert sentence(result, "customer_ambiguous").count("C-") == 5


@pytest.mark.parametrize("status", ["Inactive", "Erased"])
def test_a_customer_who_takes_no_orders_is_a_problem_that_names_the_state(status):
    result = run(order(), tims=reference_data({"Status": status, "Name": "Ana", "ExternalIDs": MINE}))
    assert reasons(result) == ["customer_inactive"]
    assert status in sentence(result, "customer_inactive")
    assert decided(result)[0][:2] == ("ask", None)


def test_a_new_buyer_is_created_once_for_all_orders_that_share_a_key():
    result = run(
        order(1),
        order(2, CustomerInfo={"Phone": None, "Email": None}),
        order(3, SiteID=870, CustomerInfo={"CustomerID": "E-9", "Phone": None, "FirstName": "A."}),
        order(4, SiteID=587, CustomerInfo=guest(Email=None)),
        order(5, CustomerInfo={"CustomerID": "Z", "Phone": None, "FirstName": "Zed", "Email": "zed@example.com"}),
    )
    keys = [key for _, _, key, _ in decided(result)]
    assert keys == ["12345678:640:A1B2C3"] * 4 + ["12345678:640:Z"]
    assert list(result.customers["customer_key"]) == ["12345678:640:A1B2C3", "12345678:640:Z"]
    assert list(result.customers["_row"]) == [0, 4]
    assert result.customers["Customer.Phone"][0] == "+12125550147"


def test_a_batch_decides_as_its_orders_would_one_by_one():
    buyers = [
        BUYER,
        {**BUYER, "CustomerID": "SECOND", "Email": "second@example.com"},  # same phone and address: weak
        {**BUYER, "CustomerID": "THIRD"},  # same e-mail: the same person
        {**BUYER, "CustomerID": "SECOND", "Email": None},
    ]
    result = run(*(order(n, CustomerInfo=b) for n, b in enumerate(buyers)))
    assert [d[0] for d in decided(result)] == ["create", "ask", "create", "ask"]
    assert decided(result)[2][2] == "12345678:640:A1B2C3"
    assert len(result.customers) == 1


def test_the_date_of_an_order_decides_who_comes_first_not_its_place_in_the_batch():
    late = order(1, OrderDate="2026-03-02T10:00:00Z", CustomerInfo={"CustomerID": "LATE"})
    early = order(2, OrderDate="2026-03-01T10:00:00Z", CustomerInfo={"CustomerID": "EARLY"})
    assert {d[2] for d in decided(run(late, early))} == {"12345678:640:EARLY"}


def test_a_customer_is_made_from_the_first_order_that_has_no_problem():
    result = run(order(1, Currency=None), order(2))
    assert list(result.customers["_row"]) == [1]
    assert len(run(order(1, Currency=None)).customers) == 0


def test_an_order_that_will_not_load_makes_no_customer_for_the_others():
    broken = order(1, ShippingAddress={"Country": "Unspecified"}, CustomerInfo={"Email": None})
    mended = order(2, CustomerInfo={"Email": None})
    elsewhere = order(3, SiteID=870, CustomerInfo={"CustomerID": "E-9", "Email": None})
    result = run(broken, mended, elsewhere)
    assert [d[2] for d in decided(result)] == ["12345678:640:A1B2C3"] * 3
    assert decided(result)[2][3] == "phone_postal"


def test_guests_get_a_customer_each_or_the_sites_account():
    nobody = guest(Email=None, Phone=None, FirstName=None, LastName=None)
    one = order(1, CustomerInfo=nobody, ShippingAddress={"Line1": "1 A St"})
    two = order(2, CustomerInfo=nobody, ShippingAddress={"Line1": "2 B St"})
    keys = [d[2] for d in decided(run(one, two))]
    assert keys == ["12345678:640:order:1001", "12345678:640:order:1002"]
    account = config(guests="account", guest_account="C-GUEST")
    people = reference_data({"CustomerID": "C-GUEST", "Name": "Guests"})
    assert decided(run(one, two, tims=people, settings=account)) == [("use", "C-GUEST", None, "guest_account")] * 2
    assert decided(run(order(), tims=people, settings=account))[0][0] == "create"
    missing = run(one, settings=account)
    assert reasons(missing) == ["customer_inactive"]
    assert "C-GUEST" in sentence(missing, "customer_inactive")


def test_guests_without_anything_to_compare_never_share_a_customer():
    bare = order(1, OrderStatus="New", CustomerInfo=guest(Email=None, Phone=None), ShippingAddress={"City": None})
    result = run(bare, bare | {"ChannelAdvisorOrderID": 1002})
    assert len({d[2] for d in decided(result)}) == 2


def test_a_guest_of_a_former_order_keeps_that_orders_customer_and_is_no_account():
    held = {"ExternalIDs": external("12345678:640:order:77"), "Phone": "+12125550147", **ADDRESSED}
    assert decided(run(order(), tims=reference_data(held))) == [("use", "C-1", None, "phone_postal")]


def test_orders_that_tims_has_that_wait_or_are_left_out_need_no_customer():
    result = run(order(1), order(2, OrderStatus="Pending"), order(3, OrderStatus="Cancelled"), linked=(1001,))
    assert [d[0] for d in decided(result)] == ["none"] * 3
    assert len(result.customers) == 0


def test_the_name_on_documents_is_the_buyers_else_the_addressees():
    assert run(order()).header["Customer.Name"][0] == "Ana Ortiz"
    assert (
        run(order(CustomerInfo={"FirstName": "Ana Ortiz", "LastName": None})).header["Customer.Name"][0] == "Ana Ortiz"
    )
    without = order(CustomerInfo={"FirstName": "", "LastName": None}, ShippingAddress={"Name": "Post Room"})
    header = run(without).header
    assert header["Customer.Name"][0] == "Post Room"
    assert pd.isna(header["Customer.FirstName"][0])


def test_keys_of_a_customer_come_from_all_its_addresses():
    keys = reference_data(
        customer(
            Name="Ana Ortiz",
            Phone="+12125550147",
            BillingAddress=tims_address(),
            ShippingAddresses=[tims_address(), tims_address(PostalCode="12208")],
        )
    ).customer_keys
    assert sorted(keys["kind"]) == ["name_address"] * 2 + ["phone_postal"] * 2


# ---- orders that carry no person ------------------------------------------------------------------------------------

HOUSE = "12345678:640:house:"


def theirs(number: int = 1, **changes):
    """An order that the marketplace ships, and that names nobody."""
    nobody = {
        "DistributionCenterTypeRollup": "ExternallyManaged",
        "UserDataPresent": False,
        "CustomerInfo": None,
        "ShippingAddress": {"Name": None, "Line1": None, "Line2": None},
    }
    return order(number, **nobody | changes)


def test_orders_without_a_person_share_one_customer_of_their_site_of_whom_nothing_is_known():
    result = run(
        theirs(1), theirs(2, ShippingAddress={"Name": None, "Line1": None, "City": "Utica"}), theirs(3, SiteID=641)
    )
    assert [(d[0], d[2], d[3]) for d in decided(result)] == [
        ("create", HOUSE, "house"),
        ("create", HOUSE, "house"),
        ("create", "12345678:641:house:", "house"),
    ]
    made = result.customers.set_index("customer_key").loc[HOUSE]
    assert made["Customer.Name"] == "Buyers of Amazon US"
    others = [c for c in made.index if c.startswith(("Customer.", "ShipTo.", "BillTo.")) and c != "Customer.Name"]
    assert made[others].isna().all()


def test_the_customer_of_the_site_is_found_again():
    held = reference_data({"ExternalIDs": external(HOUSE), "Name": "Buyers of Amazon US"})
    assert decided(run(theirs(), tims=held)) == [("use", "C-1", None, "house")]
    inactive = reference_data({"ExternalIDs": external(HOUSE), "Status": "Inactive"})
    assert reasons(run(theirs(), tims=inactive)) == ["customer_inactive"]


def test_an_order_without_a_name_is_still_its_buyers_where_an_id_or_a_mail_tells_who_that_is():
    anonymous = {"FirstName": None, "LastName": None}
    for buyer, match in (({"Email": None}, "external"), ({"CustomerID": None}, "email")):
        document = theirs(CustomerInfo=BUYER | anonymous | buyer)
        held = reference_data({"ExternalIDs": MINE, "Email": "ana.ortiz@example.com"})
        assert decided(run(document, tims=held)) == [("use", "C-1", None, match)]
    assert decided(run(theirs(CustomerInfo=BUYER | anonymous)))[0][2] == HOUSE


def test_the_guest_account_of_a_site_takes_orders_without_a_person():
    settings = config(guests="account", guest_account="C-9")
    held = reference_data({"CustomerID": "C-9", "Name": "Guests"})
    for buyer in (None, BUYER | {"FirstName": None, "LastName": None, "Email": None, "Phone": None}):
        document = theirs(CustomerInfo=buyer)
        assert decided(run(document, tims=held, settings=settings)) == [("use", "C-9", None, "guest_account")]


def test_a_named_buyer_of_an_order_that_the_marketplace_ships_is_a_customer_like_any_other():
    document = theirs(CustomerInfo=BUYER, UserDataPresent=True)
    result = run(document)
    assert decided(result) == [("create", None, "12345678:640:A1B2C3", None)]
    made = result.customers.iloc[0]
    assert made["Customer.Name"] == "Ana Ortiz"
    assert pd.isna(made["ShipTo.City"]), "an address without a street is none"


# ---- what is not one person's ----------------------------------------------------------------------------------------


def people(count: int, **same):
    """Orders of so many buyers, each with a name, an id and a street of his own, alike in `same`."""
    return [
        order(
            n,
            CustomerInfo=BUYER | {"CustomerID": f"B{n}", "FirstName": f"Buyer{n}", "Email": None, "Phone": None} | same,
            ShippingAddress={"Line1": f"{n} Elm St"},
        )
        for n in range(1, count + 1)
    ]


def created(result) -> int:
    assert reasons(result) == []
    assert {d[0] for d in decided(result)} == {"create"}
    return len({d[2] for d in decided(result)})


def test_two_extensions_of_one_number_are_two_people_and_so_is_the_number_without_one():
    one, two = people(2)
    one["CustomerInfo"]["Phone"] = "+1 415-555-2671 ext. 10001"
    two["CustomerInfo"] |= {"Phone": "+1 415-555-2671 ext. 20002", "Email": "second@example.com"}
    elsewhere = two | {"SiteID": 587, "ChannelAdvisorOrderID": 1009, "OrderTaxType": "NoTax"}
    result = run(one, elsewhere)
    assert created(result) == 2
    assert result.header["Customer.Phone"].isna().all(), "without its extension it is not the buyer's number"
    assert sorted(result.warnings["rule"].unique()) == ["phone_unreadable"]
    held = reference_data({"Phone": "+14155552671", **ADDRESSED})
    assert decided(run(one, tims=held))[0][0] == "create"


@pytest.mark.parametrize("site", [None, 587])
@pytest.mark.parametrize(
    "contact", [{"Phone": "+1 212 555 0147"}, {"Email": "purchasing@example.com"}, {"Email": RELAY}]
)
def test_what_more_buyers_have_than_the_configuration_says_is_no_key(contact, site):
    documents = people(6, **contact)
    if site:
        documents[-1]["SiteID"] = site
    assert created(run(*documents)) == 6


@pytest.mark.parametrize(("kind", "value"), [("phone", "+12125550147"), ("email", "ana.ortiz@example.com")])
def test_what_many_buyers_had_before_is_no_key_either(kind, value):
    held = {"Email": "ana.ortiz@example.com"} if kind == "email" else {"Phone": "+12125550147", **ADDRESSED}
    tims = reference_data(held | {"ExternalIDs": external("12345678:641:OTHER")})
    assert decided(run(order(), tims=tims))[0][:2] == ("use", "C-1")
    tims.shared = frozenset([(kind, value)])
    assert decided(run(order(), tims=tims))[0][0] == "create"


def test_one_buyer_may_order_as_often_as_he_likes_by_one_number_and_mail():
    documents = [order(n, CustomerInfo={"CustomerID": None}) for n in range(1, 20)]
    assert created(run(*documents)) == 1


@pytest.mark.parametrize(
    "mail",
    ["noreply@shop.example", "No-Reply@x.org", "none@none.com", "na@na.com", "nobody@nowhere.com", "abc@noemail.com"],
)
def test_an_address_that_stands_where_none_was_given_is_nobody_s(mail):
    result = run(*people(2, Email=mail))
    assert created(result) == 2
    assert result.header["Customer.Email"].isna().all()
    assert set(result.warnings["rule"]) == {"email_unreadable"}
    held = reference_data({"Email": mail})
    assert decided(run(*people(1, Email=mail), tims=held))[0][0] == "create"


@pytest.mark.parametrize("mail", [RELAY, "buyers@business.example.com"])
def test_an_address_that_a_marketplace_gives_to_its_buyers_makes_no_two_of_them_one(mail):
    assert created(run(*people(2, Email=mail))) == 2
    held = reference_data({"Email": mail, "Name": "Somebody Else", "ExternalIDs": external("12345678:640:OTHER")})
    assert decided(run(*people(1, Email=mail), tims=held))[0][0] == "create"


@pytest.mark.parametrize("phone", ["0000000000", "1111111111", "+33 1 11 11 11 11", "07777777777", "1234567890", "123"])
def test_a_number_that_stands_where_none_was_given_is_nobody_s(phone):
    result = run(*people(2, Phone=phone))
    assert created(result) == 2
    assert result.header["Customer.Phone"].isna().all()
