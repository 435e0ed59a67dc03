"""Makes up buyers for the customers of the data: the same person for the same number, in the form of their country.

In: a customer number (or a guest's invoice) and a country as the data spell it. Out: names, addresses, phones and
e-mails as a site would pass them on, dirt included. Never: a real person; telephone numbers come from the ranges kept
free for fiction where the country has some, own e-mail addresses end in example.com or example.org.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

import phonenumbers
from faker import Faker

from sandbox import chance, sites
from sandbox.addresses import COUNTRIES, City, Country, draw_address
from sandbox.sites import Site

TWO_SITE_COUNTRIES = frozenset(["United Kingdom", "Germany", "France"])
FICTION = {
    "GB": ("0207946####", "01134960###", "01144960###", "01154960###", "01164960###", "01174960###", "01184960###",
           "01214960###", "01314960###", "01414960###", "01514960###", "01614960###", "01914980###", "02920180###"),
    "JE": ("0207946####",),
    "DE": ("03023125###", "06990009###", "08999998###"),
    "FR": ("019900####", "026191####", "035301####", "046571####", "053649####"),
    "AU": ("0491570###", "0491571###"),
    "US": ("51855501##", "77555501##", "40855501##"),
    "CA": ("41655501##", "51455501##"),
}  # fmt: skip
NONSENSE = ("n/a", "0", "please e-mail", "000000", "1234", "-", "see order")
HIDDEN = ("\u200b", "\u00a0", "\ufeff", "\t", "\u200e")


@dataclass(frozen=True)
class Buyer:
    """One person (or company) at one address. `number` is None for guests. Texts are clean here."""

    key: str
    number: str | None
    country: str
    first: str
    last: str
    company: str | None
    email: str | None
    phone: str | None  # E.164; None = never given
    line1: str
    line2: str | None
    city: City
    postal: str | None
    tims_knows: str | None  # how TIMS already knows this buyer: see KNOWN

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


# How some buyers of the own shop are already in TIMS.
KNOWN = (("email", 14), ("phone", 9), ("address", 9), ("twins", 4), ("inactive", 6), (None, 958))


def key_of(customer: str | None, country: str, invoice: str) -> str:
    return f"{customer}|{country}" if customer else f"guest|{invoice}"


def known_to_tims(customer: str | None, country: str) -> str | None:
    if customer is None or country != "United Kingdom":
        return None
    return chance.weighted(KNOWN, "known", customer)


def site_of(customer: str | None, country: str, invoice: str) -> Site:
    if known_to_tims(customer, country):
        return sites.WEB_SHOP
    two = is_two_site(customer, country, invoice)
    return sites.site_of(key_of(customer, country, invoice), country, invoice, two=two)


def is_two_site(customer: str | None, country: str, invoice: str) -> bool:
    """Whether the buyer also uses a second site, spelled another way: no guest, always with phone and postal code."""
    if customer is None or country not in TWO_SITE_COUNTRIES or known_to_tims(customer, country):
        return False
    return chance.share("two sites", key_of(customer, country, invoice)) < 0.25


@lru_cache(maxsize=20_000)
def buyer(customer: str | None, country: str, invoice: str = "") -> Buyer:
    """The buyer of an invoice; `invoice` matters for guests only."""
    key = key_of(customer, country, invoice)
    land = COUNTRIES[country]
    names = _names(land.locale)
    city, postal = draw_address(country, key)
    first, last = chance.pick(names.first, "first", key), chance.pick(names.last, "last", key)
    tims_knows, two = known_to_tims(customer, country), is_two_site(customer, country, invoice)
    plain = bool(tims_knows or two)  # this buyer is found by its data, so they must be given
    tag = customer or invoice
    return Buyer(
        key=key,
        number=customer,
        country=country,
        first=first,
        last=last,
        company=chance.pick(names.company, "company", key) if chance.share("has company", key) < 0.12 else None,
        email=_email(first, last, tag, key) if plain or chance.share("has email", key) < 0.96 else None,
        phone=_phone(land, key) if plain or chance.share("has phone", key) < 0.80 else None,
        line1=_street(names, land, key, plain=plain),
        line2=_line2(key) if chance.share("line2", key) < 0.18 else None,
        city=city,
        postal=postal,
        tims_knows=tims_knows,
    )


@dataclass(frozen=True)
class Names:
    first: tuple[str, ...]
    last: tuple[str, ...]
    street: tuple[str, ...]
    company: tuple[str, ...]


@cache
def _names(locale: str) -> Names:
    """Names of people, streets and companies of a locale, shorter than TIMS's limits."""
    fake = Faker(locale)
    fake.seed_instance(chance.below(1 << 31, "names", locale))

    def some(make, count: int, most: int) -> tuple[str, ...]:
        found = dict.fromkeys(" ".join(make().split()) for _ in range(count))
        return tuple(text for text in found if len(text) <= most)

    return Names(some(fake.first_name, 150, 18), some(fake.last_name, 300, 22), some(fake.street_name, 200, 32),
                 some(fake.company, 80, 50))  # fmt: skip


def _street(names: Names, land: Country, key: str, *, plain: bool) -> str:
    street, number = chance.pick(names.street, "street", key), chance.between(1, 180, "house", key)
    first_number = land.locale.startswith("en") or land.locale.startswith("fr")
    line = f"{number} {street}" if first_number else f"{street} {number}"
    if not plain and chance.share("long street", key) < 0.03:
        estate = chance.pick(
            ("Unit 4, The Old Tannery Business Park,", "Rear Building, Third Staircase, Second Floor,",
             "c/o Post Room, Enterprise Centre East Wing,", "Warehouse 7B, Riverside Industrial Estate,"),
            "estate", key,
        )  # fmt: skip
        return f"{estate} {line}" if len(estate) + len(line) > 60 else f"{estate} Off The Main Road, {line}"
    return line


def _line2(key: str) -> str:
    kind = chance.pick(("Flat {}", "Apt. {}", "Unit {}", "Floor {}", "Studio {}"), "line2 kind", key)
    return kind.format(chance.between(1, 40, "line2 number", key))


def ascii_of(text: str) -> str:
    """Latin letters without their marks; letters of other scripts are removed."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("ø", "o").replace("ł", "l"))
    return re.sub(r"[^a-z0-9]+", "", plain.encode("ascii", "ignore").decode().lower())


def _email(first: str, last: str, tag: str, key: str) -> str:
    parts = [ascii_of(first), ascii_of(last)]
    domain = chance.pick(("example.com", "example.org", "mail.example.com"), "domain", key)
    return ".".join([part for part in parts if part] + [tag]) + "@" + domain


def _phone(land: Country, key: str) -> str | None:
    """A valid number of the country, E.164."""
    region = land.iso or "GB"
    for attempt in range(12):
        if region in FICTION:
            digits = chance.fill(chance.pick(FICTION[region], "phone", key, attempt), "phone", key, attempt)
        else:
            example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
            if example is None:
                return None
            digits = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[:-4]
            digits += chance.fill("####", "phone", key, attempt)
        number = phonenumbers.parse(digits, region)
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return None


# ---- as a site passes the buyer on ----


@lru_cache(maxsize=40_000)
def site_id(who: Buyer, site: Site) -> str | None:
    """The buyer's id on the site; guests have none."""
    if who.number is None:
        return None
    if site.category == "eBay":
        return f"{ascii_of(who.last) or 'buyer'}_{chance.below(10_000, 'ebay', who.key):04d}{who.number[-3:]}"
    return f"{site.name[0]}{chance.raw('site id', site.id, who.key):016X}"[:14]


def other_spelling(who: Buyer, site: Site) -> bool:
    """Whether the buyer is spelled another way here: people with two sites are, on the second one."""
    return is_two_site(who.number, who.country, "") and site != sites.home_site(who.key, who.country)


def info(who: Buyer, site: Site, invoice: str) -> dict:
    """CustomerInfo of an order."""
    other = other_spelling(who, site)
    first, last = who.first, who.last
    if other:
        first, last = (first[0] + "." if first.isascii() else first), last.upper()
    whole = site.category == "Amazon" and chance.share("whole name", who.key) < 0.3
    return {
        "CustomerID": site_id(who, site),
        "FirstName": _hide(f"{first} {last}" if whole else first, "first", who),
        "LastName": None if whole else last,
        "Email": _site_email(who, site, invoice, other=other),
        "Phone": _typed_phone(who, site, other=other),
        "Company": who.company,
    }


def _site_email(who: Buyer, site: Site, invoice: str, *, other: bool) -> str | None:
    if site.relay:
        return f"{chance.raw('relay', site.id, invoice):016x}@{site.relay}"
    if not plain_data(who) and chance.share("broken email", who.key) < 0.01:
        return f"{ascii_of(who.last) or 'buyer'} at example.com"
    if who.email and other:
        local, _, domain = who.email.partition("@")
        return f"{local.title()}@{domain.capitalize()}"
    return who.email


def plain_data(who: Buyer) -> bool:
    return bool(who.tims_knows) or is_two_site(who.number, who.country, "")


def _typed_phone(who: Buyer, site: Site, *, other: bool) -> str | None:
    """The phone as people type it: with blanks, 00 for +, brackets; now and then nothing that could be dialled."""
    if who.phone is None:
        return chance.pick(NONSENSE, "nonsense", who.key) if chance.share("nonsense", who.key) < 0.15 else None
    style = chance.pick(("national", "international", "00", "e164", "brackets"), "phone style", who.key, other)
    if who.country not in TWO_SITE_COUNTRIES and style in ("national", "brackets"):
        style = "international"
    return _phone_style(who.phone, style)


@lru_cache(maxsize=40_000)
def _phone_style(e164: str, style: str) -> str:
    number = phonenumbers.parse(e164, None)
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    international = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    if style == "national":
        return national
    if style == "international":
        return international
    if style == "00":
        return "00" + e164[1:]
    if style == "brackets" and national.startswith("0"):
        return f"+{number.country_code} (0){national[1:]}"
    return e164


def address(who: Buyer, site: Site, invoice: str) -> dict:
    """ShippingAddress of an order, as clean or dirty as the buyer's hand and the site leave it."""
    land = COUNTRIES[who.country]
    other = other_spelling(who, site)
    name = f"{who.first} {who.last}".upper() if other else who.name
    line1 = who.line1.replace(" Street", " St.").replace("straße", "str.") if other else who.line1
    named = not site.iso_countries and chance.share("named country", invoice) < 0.5
    region = who.city.region
    if not site.iso_countries and chance.share("named region", who.key) < 0.5:
        region = land.region_name(region)
    return {
        "Name": name,
        "Company": who.company,
        "Line1": _hide(line1, "line1", who),
        "Line2": who.line2 if len(who.line1) <= 60 else None,
        "City": _hide(who.city.name, "city", who),
        "Region": region,
        "PostalCode": _typed_postal(who.postal, who),
        "Country": who.country if named or land.iso is None else land.iso,
    }


def _typed_postal(postal: str | None, who: Buyer) -> str | None:
    if postal is None or who.tims_knows:
        return postal
    style = chance.share("postal style", who.key)
    if style < 0.06 and COUNTRIES[who.country].iso == "GB":
        return postal.replace(" ", "").lower()
    return f" {postal} " if style > 0.98 else postal


def _hide(text: str, what: str, who: Buyer) -> str:
    """Puts an invisible character into a few texts."""
    if plain_data(who) or chance.share("hidden", what, who.key) > 0.006:
        return text
    sign = chance.pick(HIDDEN, "sign", what, who.key)
    return text + sign if sign in "\u00a0\t" else text[:1] + sign + text[1:]
