"""What an analyst decides about sites, item codes, countries, regions and taxes, read from the configuration folder.

In: sites.yaml and lookups/{item_codes,countries,regions,taxes}.csv. Out: one frozen `Settings`. Never: a guess. A file
that cannot be understood is a ConfigError that names the file, the line and the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import pycountry
import yaml

from crossdock.errors import ConfigError
from crossdock.mapping import lookups
from crossdock.rules import tax_rules
from crossdock.rules.tax_rules import TaxRules
from crossdock.settings import config_dir

IMPORT_RULES = ("hold", "always", "only_paid")
GUEST_POLICIES = ("per_order", "account")
MARKETPLACE_POLICIES = ("load", "leave_out")
COLUMNS = {
    "item_codes": ("code", "action", "item", "reason"),
    "countries": ("given", "code", "reason"),
    "regions": ("given", "country", "code"),
}
ACTIONS = ("product", "shipping", "discount", "voucher", "ignore", "reject")


@dataclass(frozen=True)
class Site:
    """How the orders of one site are taken in. Sites that no configuration names work by the defaults."""

    channel: str | None = None  # name in TIMS (Channel); None = the site's own name
    import_rule: str = "hold"  # of unpaid orders: hold = load on hold, always = load open, only_paid = wait
    shipping_method: str = "Standard"  # when the buyer asked for no carrier and no service
    guests: str = "per_order"  # per_order = a customer for each guest order, account = the site's guest account
    guest_account: str | None = None  # CustomerID in TIMS of that account
    marketplace_fulfilled: str = "load"  # orders the marketplace ships: load, or leave_out and count
    location: str = "MAIN"  # TIMS location that ships the site's orders
    marketplace_location: str = "MARKETPLACE"  # TIMS location of goods that the marketplace holds and ships
    returns_location: str = "MAIN"  # TIMS location that takes goods back
    country: str | None = None  # ISO code of the site's own country: of orders that the marketplace ships, saying none
    prepaid: bool = False  # buyers pay before shipment, by the shop's own gateway: the money is a deposit until then
    # Mail domains that mask the buyer, `marketplace.amazon.*` under every ending; such a mask holds on its own site.
    relay_domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemCode:
    """What becomes of a code that channels sell but that is no product of its own."""

    code: str  # as the channel writes it; may be a glob such as gift_0001_*
    action: str  # one of ACTIONS
    item: str  # SKU in TIMS that a voucher is sold as, else ""
    reason: str  # for people


@dataclass(frozen=True)
class Settings:
    sites: Mapping[int, Site] = field(default_factory=dict)
    default: Site = field(default_factory=Site)
    item_codes: tuple[ItemCode, ...] = ()
    countries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name as given -> ISO codes, see the file
    regions: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (ISO country, name as given) -> region code
    nobodys_mail: tuple[str, ...] = ()  # e-mail addresses, as globs, that stand where a buyer has given none
    shared_above: int = 5  # a phone number or e-mail address that more buyers than this have is nobody's own
    taxes: TaxRules = field(default_factory=TaxRules)  # what prices hold where a site tells of no tax
    source: str = "ChannelAdvisor"  # Source of orders and of customers' external ids in TIMS

    def site(self, site_id: int) -> Site:
        return self.sites.get(site_id, self.default)

    @property
    def relay_domains(self) -> frozenset[str]:
        """All masking domains: one site's relay address is nobody's own address on any other site."""
        return frozenset(d.lower() for s in (self.default, *self.sites.values()) for d in s.relay_domains)

    @property
    def guest_accounts(self) -> frozenset[str]:
        """CustomerIDs that stand for many buyers: no buyer's data belong there."""
        return frozenset(s.guest_account for s in (self.default, *self.sites.values()) if s.guest_account)


def load(folder: Path | None = None) -> Settings:
    """Read the configuration; a file is read again only when it has changed. Raises ConfigError."""
    folder = folder or config_dir()
    sites = folder / "sites.yaml"
    default, named, contacts = _read_sites(sites, sites.stat().st_mtime_ns if sites.exists() else 0)
    codes, countries, regions = (lookups.read(name, folder / "lookups") for name in COLUMNS)
    for table in (codes, countries, regions):
        if table.columns != COLUMNS[table.name]:
            raise ConfigError(f"{table.path}: the header must be {','.join(COLUMNS[table.name])}.", do="Correct it.")
    return Settings(
        sites=named,
        default=default,
        item_codes=tuple(_item_code(codes.path, ItemCode(**row)) for row in codes.rows.values()),
        countries={given: tuple(row["code"].upper().split("/")) for given, row in countries.rows.items()},
        regions={(row["country"].upper(), given): row["code"].upper() for given, row in regions.rows.items()},
        **contacts,
        taxes=tax_rules.load(folder / "lookups"),
    )


@lru_cache(maxsize=8)
def _read_sites(path: Path, _changed: int) -> tuple[Site, dict[int, Site], dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing.", do="Restore it; an empty file means: all sites by default.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} is not valid YAML: {problem}.", do="Correct the file.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold `defaults` and `sites`.", do="Correct the file.")
    _check_names(path, "", content, ("contacts", "defaults", "sites"))
    base = _site(path, "defaults", content.get("defaults") or {}, {})
    given = content.get("sites") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: sites must be a list of `site id: values`.", do="Correct the file.")
    defaults = {f.name: getattr(base, f.name) for f in fields(Site)}
    sites = {}
    for key, values in given.items():
        if not isinstance(key, int) or isinstance(key, bool):
            raise ConfigError(f"{path}: sites: {key!r} is no site id.", do="Use the number of the site.")
        sites[key] = _site(path, f"site {key}", values or {}, defaults)
    return base, sites, _contacts(path, content.get("contacts") or {})


def _contacts(path: Path, values: Any) -> dict[str, Any]:
    """Which phone numbers and e-mail addresses are not one person's."""
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: contacts must be a list of `name: value`.", do="Correct the file.")
    _check_names(path, "contacts", values, ("shared_above", "nobodys_mail"))
    read: dict[str, Any] = {}
    if "shared_above" in values:
        most = values["shared_above"]
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise ConfigError(f"{path}: contacts: shared_above is {most!r}.", do="Give a number of buyers above 0.")
        read["shared_above"] = most
    if "nobodys_mail" in values:
        given = values["nobodys_mail"]
        if not isinstance(given, list) or not all(isinstance(one, str) and "@" in one for one in given):
            raise ConfigError(
                f"{path}: contacts: nobodys_mail must be a list of addresses.", do="Write each like noreply@* or *@x.y."
            )
        read["nobodys_mail"] = tuple(one.casefold() for one in given)
    return read


def _site(path: Path, where: str, values: Any, defaults: dict[str, Any]) -> Site:
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {where} must be a list of `name: value`.", do="Correct the file.")
    _check_names(path, where, values, tuple(f.name for f in fields(Site)))
    relays = values.get("relay_domains", defaults.get("relay_domains", ()))
    if not isinstance(relays, (list, tuple)):
        raise ConfigError(f"{path}: {where}: relay_domains must be a list of mail domains.", do="Correct the file.")
    site = Site(**{**defaults, **values, "relay_domains": tuple(str(d).lower() for d in relays)})
    for name, allowed in (
        ("import_rule", IMPORT_RULES),
        ("guests", GUEST_POLICIES),
        ("marketplace_fulfilled", MARKETPLACE_POLICIES),
    ):
        if getattr(site, name) not in allowed:
            raise ConfigError(
                f"{path}: {where}: {name} is {getattr(site, name)!r}.", do=f"Use one of {', '.join(allowed)}."
            )
    for name in ("channel", "shipping_method", "guest_account", "location", "marketplace_location"):
        value = getattr(site, name)
        if not (isinstance(value, str) and value) and not (value is None and name in ("channel", "guest_account")):
            raise ConfigError(f"{path}: {where}: {name} is {value!r}.", do="Give a text.")
    if site.country is not None and not pycountry.countries.get(alpha_2=str(site.country)):
        raise ConfigError(
            f"{path}: {where}: country is {site.country!r}, which is no country of ISO 3166.",
            do='Give its two letters in capitals, in quotes: "NO" without them is a no.',
        )
    if site.guests == "account" and not site.guest_account:
        raise ConfigError(f"{path}: {where}: guests is account, but guest_account is missing.", do="Name a CustomerID.")
    return site


def _check_names(path: Path, where: str, values: Mapping[Any, Any], allowed: tuple[str, ...]) -> None:
    for name in values:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(allowed)}."
            raise ConfigError(f"{path}: {where + ': ' if where else ''}{name!r} is unknown.", do=hint)


def _item_code(path: Path, code: ItemCode) -> ItemCode:
    if code.action not in ACTIONS:
        near = difflib.get_close_matches(code.action, ACTIONS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(ACTIONS)}."
        raise ConfigError(f"{path}: action {code.action!r} of the code {code.code!r} is unknown.", do=hint)
    if (code.action == "voucher") != bool(code.item):
        raise ConfigError(
            f"{path}: code {code.code!r}: a voucher, and only a voucher, names the item it is sold as.",
            do="Correct item.",
        )
    if code.action in ("ignore", "reject") and not code.reason:
        raise ConfigError(f"{path}: code {code.code!r}: {code.action} needs a reason.", do="Say why, for the reader.")
    return code
