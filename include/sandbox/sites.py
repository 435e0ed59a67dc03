"""The sites of the one profile: where buyers buy, in which currency, and what each site leaves out.

In: nothing. Out: the table of sites and the choice of a site for a buyer.
Never: a rule of the pipeline: this says what a site sends, not what it means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sandbox import chance

PROFILE = 12345678

Where = Literal["lines", "header", "nowhere"]


@dataclass(frozen=True)
class Site:
    """`rate` is units of the currency per pound in hundredths; `tax` in tenths of a percent of the goods."""

    id: int
    name: str
    category: str
    currency: str
    rate: int
    relay: str | None  # domain of the e-mail addresses that the site makes for one order
    tax: int
    tax_given: Where
    remitted_by: Literal["Seller", "Marketplace"]
    taxed_share: float
    iso_countries: bool  # false: about half of its addresses carry the country's name
    fulfils: bool = False


AMAZON_US = Site(
    640, "Amazon Seller Central - US", "Amazon", "USD", 156, "marketplace.amazon.com", 73, "lines", "Marketplace", 0.8,
    True, True,
)  # fmt: skip
AMAZON_UK = Site(
    641, "Amazon Seller Central - UK", "Amazon", "GBP", 100, "marketplace.amazon.co.uk", 200, "lines", "Seller", 0.7,
    True, True,
)  # fmt: skip
AMAZON_DE = Site(
    642, "Amazon Seller Central - DE", "Amazon", "EUR", 117, "marketplace.amazon.de", 190, "header", "Seller", 0.9,
    True, True,
)  # fmt: skip
AMAZON_FR = Site(
    643, "Amazon Seller Central - FR", "Amazon", "EUR", 117, "marketplace.amazon.fr", 196, "header", "Marketplace", 0.9,
    True, True,
)  # fmt: skip
EBAY_UK = Site(870, "eBay UK", "eBay", "GBP", 100, "members.ebay.co.uk", 0, "nowhere", "Seller", 0.0, False)
WEB_SHOP = Site(587, "Web Shop", "Direct Sale", "GBP", 100, None, 200, "lines", "Seller", 0.9, False)
FRUUGO = Site(955, "Fruugo", "Marketplaces", "GBP", 100, None, 200, "header", "Seller", 0.5, False)

SITES = (AMAZON_US, AMAZON_UK, AMAZON_DE, AMAZON_FR, EBAY_UK, WEB_SHOP, FRUUGO)

GERMAN = frozenset(
    ["Germany", "Austria", "Switzerland", "Poland", "Czech Republic", "Denmark", "Sweden", "Norway", "Finland",
     "Lithuania", "Iceland"]
)  # fmt: skip
FRENCH = frozenset(["France", "Belgium", "Spain", "Italy", "Portugal", "Netherlands", "Greece", "Cyprus", "Malta"])
HOME = frozenset(["United Kingdom", "EIRE", "Channel Islands", "Unspecified", "European Community"])

AT_HOME = ((AMAZON_UK, 0.38), (EBAY_UK, 0.22), (WEB_SHOP, 0.30), (AMAZON_US, 0.06), (FRUUGO, 0.04))
IN_GERMAN = ((AMAZON_DE, 0.75), (WEB_SHOP, 0.15), (EBAY_UK, 0.06), (FRUUGO, 0.04))
IN_FRENCH = ((AMAZON_FR, 0.75), (WEB_SHOP, 0.15), (EBAY_UK, 0.06), (FRUUGO, 0.04))
OVERSEAS = ((AMAZON_US, 0.75), (WEB_SHOP, 0.20), (FRUUGO, 0.05))


def choices(country: str) -> tuple[tuple[Site, float], ...]:
    if country in HOME:
        return AT_HOME
    if country in GERMAN:
        return IN_GERMAN
    return IN_FRENCH if country in FRENCH else OVERSEAS


def home_site(person: str, country: str) -> Site:
    return chance.weighted(choices(country), "site", person)


def site_of(person: str, country: str, invoice: str, *, two: bool) -> Site:
    """A buyer keeps to one site; one with two uses the second for about half of the orders."""
    if two and chance.share("which site", invoice) < 0.5:
        return chance.weighted(choices(country), "second site", person)
    return home_site(person, country)


def documents() -> list[dict]:
    """The sites as Channel Advisor lists them, without UpdatedDate."""
    return [{"SiteID": site.id, "SiteName": site.name, "SiteCategoryName": site.category} for site in SITES]


def centers() -> list[dict]:
    """The distribution centers as Channel Advisor lists them, without UpdatedDate."""
    base = {"ProfileID": PROFILE, "IsDeleted": False}
    return [
        base
        | {
            "DistributionCenterID": 4,
            "Name": "Main warehouse",
            "Code": "MAIN",
            "Type": "Warehouse",
            "IsExternallyManaged": False,
        },
        base
        | {
            "DistributionCenterID": 9,
            "Name": "Fulfilled by Amazon",
            "Code": "FBA",
            "Type": "ExternallyManaged",
            "IsExternallyManaged": True,
        },
    ]
