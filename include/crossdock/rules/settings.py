"""Reads what an analyst decides about sites, item codes, countries, regions and taxes from the configuration folder.

In: sites.yaml and lookups/{item_codes,countries,regions,taxes}.csv. Out: one frozen `Settings`. Never: a guess. A file
that cannot be understood is a ConfigError that names the file, the line and the nearest right word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pycountry
from msgspec import Meta

from crossdock import config
from crossdock.config import SiteID, Struct, Text
from crossdock.rules import tax_rules
from crossdock.rules.tax_rules import TaxRules
from crossdock.settings import config_dir


class Site(Struct, frozen=True):
    """How the orders of one site are taken in. Sites that the configuration does not name have the defaults."""

    channel: Text | None = None  # name in TIMS (Channel); None = the site's own name
    # Of unpaid orders: hold = load on hold, always = load open, only_paid = wait.
    import_rule: Literal["hold", "always", "only_paid"] = "hold"
    shipping_method: Text = "Standard"  # when the buyer asked for no carrier and no service
    # per_order = a customer for each guest order, account = the site's guest account
    guests: Literal["per_order", "account"] = "per_order"
    guest_account: Text | None = None  # CustomerID in TIMS of that account
    marketplace_fulfilled: Literal["load", "leave_out"] = (
        "load"  # orders the marketplace ships; leave_out: only counted
    )
    location: Text = "MAIN"  # TIMS location that ships the site's orders
    marketplace_location: Text = "MARKETPLACE"  # TIMS location of goods that the marketplace holds and ships
    returns_location: Text = "MAIN"  # TIMS location that takes goods back
    country: str | None = None  # ISO code of the site's own country: of its orders that name none
    # Who pays the tax of its orders on, where the channel does not say so; None = as lookups/tax_remitters.csv says
    tax_remitted_by: Literal["Seller", "Marketplace"] | None = None
    # What is charged besides goods and shipping (insurance, fees), where the channel gives it with the order
    order_charges: Literal["shipping", "gift_wrap"] = "shipping"
    prepaid: bool = False  # buyers pay before shipment, by the shop's own gateway: the money is a deposit until then
    # Mail domains that mask the buyer, `marketplace.amazon.*` under every ending; such a mask holds on its own site.
    relay_domains: tuple[Text, ...] = ()

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.country is not None and not pycountry.countries.get(alpha_2=self.country):
            yield (
                "country",
                f"country is {self.country!r}, which is no country of ISO 3166; give its two letters in capitals, in "
                'quotes: "NO" without them is a no',
            )


Mail = Annotated[str, Meta(pattern="@", description="an address such as noreply@* or *@x.y")]


class Contacts(Struct, frozen=True):
    """Which phone numbers and e-mail addresses do not belong to one person."""

    shared_above: Annotated[int, Meta(ge=1, description="a number of buyers above 0")] = 5
    nobodys_mail: tuple[Mail, ...] = ()


class Sites(Struct, frozen=True):
    """sites.yaml."""

    defaults: Site = Site()
    contacts: Contacts = Contacts()
    sites: dict[SiteID, Site] = msgspec.field(default_factory=dict)


class ItemCode(Struct, frozen=True):
    """The meaning of a code that channels sell but that is not a product: one row of item_codes.csv."""

    code: Text  # as the channel writes it; may be a glob such as gift_0001_*
    action: Literal["product", "shipping", "discount", "voucher", "ignore", "reject"]
    item: str = ""  # SKU in TIMS that a voucher is sold as
    reason: str = ""  # for people

    def problems(self) -> Iterator[tuple[str, str]]:
        if (self.action == "voucher") != bool(self.item):
            yield "item", f"code {self.code!r}: a voucher, and only a voucher, names the item it is sold as"
        if self.action in ("ignore", "reject") and not self.reason:
            yield "reason", f"code {self.code!r}: {self.action} needs a reason; say why, for the reader"


class Country(Struct, frozen=True):
    """One row of countries.csv."""

    given: Text
    code: Text  # one ISO code, or several: JE/GG
    reason: str = ""


class Region(Struct, frozen=True):
    """One row of regions.csv."""

    given: Text
    country: Text
    code: Text


@dataclass(frozen=True)
class Settings:
    sites: Mapping[int, Site] = field(default_factory=dict)
    default: Site = field(default_factory=Site)
    item_codes: tuple[ItemCode, ...] = ()
    countries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name as given -> ISO codes, see the file
    regions: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (ISO country, name as given) -> region code
    nobodys_mail: tuple[str, ...] = ()  # placeholders for a missing e-mail address, as globs
    shared_above: int = 5  # a phone number or e-mail address of more buyers than this is not used as a key
    taxes: TaxRules = field(default_factory=TaxRules)  # the tax inside prices where a site gives none
    source: str = "ChannelAdvisor"  # Source of orders and of customers' external ids in TIMS

    def site(self, site_id: int) -> Site:
        return self.sites.get(site_id, self.default)

    @property
    def relay_domains(self) -> frozenset[str]:
        """The masking domains of all sites: a relay address means nobody on another site."""
        return frozenset(d.lower() for s in (self.default, *self.sites.values()) for d in s.relay_domains)

    @property
    def guest_accounts(self) -> frozenset[str]:
        """CustomerIDs that stand for many buyers: no buyer's data belong there."""
        return frozenset(s.guest_account for s in (self.default, *self.sites.values()) if s.guest_account)


def load(folder: Path | None = None) -> Settings:
    """Read the configuration; a file is read again only when it has changed. Raises ConfigError."""
    folder = folder or config_dir()
    file = config.read(folder / "sites.yaml", Sites)
    if found := check(folder):
        raise config.refusal(found)
    assert file.value is not None
    codes, countries, regions = _tables(folder)
    return Settings(
        sites={key: _whole(file, ("sites", key), site) for key, site in file.value.sites.items()},
        default=_whole(file, ("defaults",), file.value.defaults),
        item_codes=tuple(codes.rows.values()),
        countries={row.given: tuple(row.code.upper().split("/")) for row in countries.rows.values()},
        regions={(row.country.upper(), row.given): row.code.upper() for row in regions.rows.values()},
        shared_above=file.value.contacts.shared_above,
        nobodys_mail=tuple(one.casefold() for one in file.value.contacts.nobodys_mail),
        taxes=tax_rules.load(folder / "lookups"),
    )


def check(folder: Path | None = None) -> list[config.Finding]:
    """All errors of sites.yaml and the tables beside it."""
    folder = folder or config_dir()
    file = config.read(folder / "sites.yaml", Sites)
    found = list(file.findings)
    if file.value is not None:
        sites: list[tuple[config.Place, Site]] = [(("sites", key), one) for key, one in file.value.sites.items()]
        for place, site in [(("defaults",), file.value.defaults), *sites]:
            whole = _whole(file, place, site)
            if whole.guests == "account" and not whole.guest_account:
                where = ".".join(map(str, place))
                message = f"{where}: guests is account, but guest_account is missing; name a CustomerID"
                found.append(file.finding((*place, "guests"), message))
    tables = [one for table in _tables(folder) for one in table.findings]
    return [*sorted(found, key=lambda one: one.line), *tables]


def _tables(folder: Path) -> tuple[config.Table[ItemCode], config.Table[Country], config.Table[Region]]:
    lookups = folder / "lookups"
    return (
        config.read_csv(lookups / "item_codes.csv", ItemCode),
        config.read_csv(lookups / "countries.csv", Country),
        config.read_csv(lookups / "regions.csv", Region, keys=2),
    )


def _whole(file: config.File[Sites], place: config.Place, site: Site) -> Site:
    """A site completed with the defaults, its domains in lower case."""
    assert file.value is not None
    given = {word: getattr(site, word) for word in Site.__struct_fields__ if file.has(*place, word)}
    made = msgspec.structs.replace(file.value.defaults, **given)
    return msgspec.structs.replace(made, relay_domains=tuple(one.lower() for one in made.relay_domains))


# What the files hold, for whoever shows them as forms: (type, columns of the key).
FORMS: dict[str, tuple[Any, int]] = {
    "sites.yaml": (Sites, 0),
    "lookups/item_codes.csv": (ItemCode, 1),
    "lookups/countries.csv": (Country, 1),
    "lookups/regions.csv": (Region, 2),
}
