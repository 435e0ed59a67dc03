"""Finds who bought: a customer that TIMS has, a new one, or a question for a person.

In: heads with ShipTo.*, BillTo.* and cleaned buyer data, the keys of TIMS's customers. Out: per order use, create or
ask, the CustomerID or the key of the new customer, and its fields. Never: a merge of two customers; a match by a
marketplace's mask across sites; an order taken in for a customer who is not Active.

Kinds of keys are tried in this order; the first that finds a customer decides:

| kind | value |
|---|---|
| external | `profile:site:buyer id` |
| email | the address without case; a relay address as `profile:site:address`, so that it holds on its own site only |
| phone_postal | `+442079460123|GB|SW1A1AA` |
| name_address | name, street, city, postal code and country, without case, diacritics and punctuation |

One customer found: use. None: create, once for all orders of the batch that share a key; a guest may go to the site's
guest account. Several: ask. A site gives one person one id, so a customer found by phone or address with another buyer
id on the same profile and site is a weak match: ask. One found by e-mail is somebody else if the address is a
marketplace's or the name differs: marketplaces and business accounts give one address to many buyers.

A phone number or e-mail address of more buyers than `shared_above` in config/sites.yaml is not used as a key. Buyers
are counted by name, and by their ids on one site.

An order that the marketplace ships may carry no name at all. Where no key finds its buyer it goes to the guest account,
or to the one customer of its site for such orders, `profile:site:house:`, of whom nothing but a name is kept.

Orders are decided one after another, by date, as if each had been synchronised alone: so a batch of many decides the
same as many batches of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crossdock.keys import fitting
from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import REFUSED, Columns, rule
from crossdock.rules import emails
from crossdock.rules.addresses import TARGET as ADDRESS_PARTS
from crossdock.rules.addresses import fold, of_people
from crossdock.rules.order_context import OrderContext
from crossdock.rules.reference_data import Reference
from crossdock.rules.settings import Settings
from crossdock.rules.times import sortable
from crossdock.rules.vectorize import TEXT, column, distinct, map_text, text_column, values_at

KINDS = ("external", "email", "phone_postal", "name_address")
WEAK = ("phone_postal", "name_address")
HOUSE = "house"
LONGEST_ID = 100  # of ExternalIDs, by the contract of TIMS
LENGTHS = {"FirstName": 40, "LastName": 40, "Name": 60, "Company": 60}
SHOWN = 5  # candidates named in a question
ACTION_WRITES = ("customer_action", "CustomerID", "customer_key", "customer_external_id", "customer_match")


# ---- keys ----


def external_key(profile: object, site: object, buyer: str) -> str:
    """The key of a buyer's id, which is unique only within a profile and a site."""
    return f"{profile}:{site}:{buyer}"


def email_key(address: str | None, relay: bool, site: str | None) -> str | None:
    """The key of an e-mail address. None without an address, and for a mask of an unknown site."""
    if not address or (relay and site is None):
        return None
    return f"{site}:{address.casefold()}" if relay else address.casefold()


def phone_key(phone: str | None, postal: str | None, country: str | None) -> str | None:
    if not (phone and postal and country):
        return None
    return f"{phone}|{country}|{''.join(fold(postal).split()).upper()}"


def address_key(name: str | None, address: Iterable[str | None]) -> str | None:
    """Name and full address (parts in the order of ADDRESS_PARTS; its own name and company do not count)."""
    _name, _company, line1, line2, city, _region, postal, country = address
    if not (name and line1 and city and country):
        return None
    return "|".join(
        (fold(name), fold(f"{line1} {line2 or ''}"), fold(city), "".join(fold(postal or "").split()), country)
    )


def keys_of(customers: Iterable[dict], settings: Settings) -> pd.DataFrame:
    """The keys of TIMS customers, as `Reference.keys_of`: documents of the contract's Customer in, (kind, value,
    CustomerID) out. The sites of a relay address come from the customer's external ids."""
    rows: dict[tuple[str, str, str], None] = {}
    relays = settings.relay_domains
    for customer in customers:
        own = customer["CustomerID"]
        external = [e["ID"] for e in customer.get("ExternalIDs") or () if e["Source"] == settings.source]
        addresses = [a for a in (customer.get("BillingAddress"), *(customer.get("ShippingAddresses") or ())) if a]
        address = customer.get("Email")
        if address and emails.is_nobodys(address, settings.nobodys_mail):
            address = None
        relay = emails.is_relay(address, relays) if address else False
        sites = sorted({":".join(e.split(":")[:2]) for e in external if e.count(":") >= 2}) if relay else [None]
        found = [("external", e) for e in external]
        found += [("email", email_key(address, relay, site)) for site in sites]
        for a in addresses:
            found.append(("phone_postal", phone_key(customer.get("Phone"), a.get("PostalCode"), a.get("CountryCode"))))
            found.append(("name_address", address_key(customer.get("Name"), (a.get(p) for p in ADDRESS_PARTS))))
        rows |= dict.fromkeys((kind, value, own) for kind, value in found if value)
    return pd.DataFrame(
        {name: pd.Series([r[n] for r in rows], dtype=TEXT) for n, name in enumerate(("kind", "value", "CustomerID"))}
    )


# ---- buyer ----


@rule(
    "buyer",
    reads=[
        "CustomerInfo.FirstName", "CustomerInfo.LastName", "CustomerInfo.Company", "ShipTo.Name", "ShipTo.Company",
        "BillTo.Name", "personal_data",
    ],
    writes=["Customer.FirstName", "Customer.LastName", "Customer.Name", "Customer.Company"],
)  # fmt: skip
def buyer(frames: Frames, context: object) -> Columns:
    """The buyer's names: given and family name as they are, Name of both, else the addressee's; "" counts as not
    given."""
    header = frames.header
    given = {n: _filled(column(header, f"CustomerInfo.{n}")) for n in ("FirstName", "LastName", "Company")}
    first, last = given["FirstName"], given["LastName"]
    both = (first.fillna("") + " " + last.fillna("")).str.strip()
    name = _filled(both).fillna(column(header, "ShipTo.Name")).fillna(column(header, "BillTo.Name"))
    name = name.fillna(given["Company"]).fillna(column(header, "ShipTo.Company"))
    columns = pd.DataFrame(
        {
            "Customer.FirstName": first,
            "Customer.LastName": last,
            "Customer.Name": name,
            "Customer.Company": given["Company"],
        }
    )
    found = []
    for part, most in LENGTHS.items():
        values = columns[f"Customer.{part}"]
        source = f"CustomerInfo.{part}" if part != "Name" else "CustomerInfo"
        addressee = (values == column(header, "ShipTo.Name")) & both.eq("") if part == "Name" else False
        rows = np.flatnonzero(
            ((values.str.len() > most) & ~pd.Series(addressee, index=header.index)).to_numpy(dtype=bool)
        )
        found.append(
            problems.make(
                rows,
                field=source,
                rule="text_too_long",
                value=values_at(values, rows),
                message=f"The buyer's {part} is longer than the {most} characters of TIMS.",
                do="Shorten it on the channel or edit this record's payload, then replay.",
            )
        )
    return Columns(columns, problems=of_people(header, problems.concat(found)))


def _filled(values: pd.Series) -> pd.Series:
    return values.mask(values == "")


# ---- decision ----


@dataclass
class Book:
    """The known customers by their keys; grows as a batch creates customers."""

    by_key: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    accounts: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # (customer, profile:site) -> external keys

    names: dict[str, str] = field(default_factory=dict)  # by customer, folded

    def may_be_called(self, customer: str, name: str) -> bool:
        """Whether a customer has this name, as far as both are known."""
        return not name or self.names.get(customer, name) == name

    def add(self, kind: str, value: str, customer: str) -> None:
        self.by_key.setdefault((kind, value), set()).add(customer)
        if kind == "external" and value.count(":") >= 2:
            profile, site, buyer_id = value.split(":", 2)
            if not buyer_id.startswith((_ORDER, _HOUSE)):
                self.accounts.setdefault((customer, f"{profile}:{site}"), set()).add(value)


_ORDER = "order:"  # marks a guest's external id, which names an order instead of an account
_HOUSE = "house:"  # the external id of a site's one customer for orders that carry no person


def is_house(header: pd.DataFrame) -> pd.Series:
    """Which orders go to their site's one customer for orders without a buyer. No buyer's data belong there."""
    return header["customer_match"].eq(HOUSE).astype(bool)


@rule(
    "decide_customer",
    reads=[
        "ChannelAdvisorOrderID", "ProfileID", "SiteID", "OrderDate", "CustomerInfo.CustomerID", "Customer.Email",
        "Customer.Phone", "Customer.Name", *(f"ShipTo.{part}" for part in ADDRESS_PARTS), "verdict", "linked",
        "marketplace_fulfilled", REFUSED,
    ],
    writes=[*ACTION_WRITES],
)  # fmt: skip
def decide(frames: Frames, context: OrderContext) -> Columns:
    """A customer that TIMS has, a new one, or a question: by buyer id, e-mail, phone and postal code, name and address.
    Orders that TIMS has already, that wait or are left out need none. Those with a problem are decided last, because
    they create no customer.

    customer_action is use (CustomerID), create (customer_key, the ID of the new customer's external id), ask (a problem
    says why) or none."""
    header, reference, settings = frames.header, context.reference, context.settings
    needed = ((column(header, "verdict") == "load") & ~header["linked"]).to_numpy(dtype=bool)
    keys = _keys(header, needed, settings, reference)
    keyless = keys[list(KINDS)].isna().all(axis=1).to_numpy(dtype=bool)
    when = sortable(column(header, "OrderDate")).to_numpy(dtype=object, na_value="")
    last = header[REFUSED].to_numpy(dtype=bool)
    order = np.lexsort((np.arange(len(header)), when, last))
    # Orders with the same keys are one question; each order without a key is its own question.
    nameless = (header["marketplace_fulfilled"].astype(bool) & column(header, "Customer.Name").isna()).to_numpy(
        dtype=bool
    )
    names = map_text(column(header, "Customer.Name"), fold).fillna("")
    codes, first = distinct(*(keys[name] for name in (*KINDS, "site")), names, pd.Series(nameless))
    earliest = np.full(len(first), -1, dtype=np.int64)
    turn: list[int] = []
    for position in order[needed[order]].tolist():
        code = codes[position]
        if earliest[code] < 0 or keyless[position]:
            earliest[code] = position if earliest[code] < 0 else earliest[code]
            turn.append(position)
    rows = np.array(turn, dtype=np.int64)
    table = {name: values_at(keys[name], rows) for name in (*KINDS, "site")}
    ids = header["ChannelAdvisorOrderID"].to_numpy(dtype=object)
    sites = header["SiteID"].to_numpy(dtype=object)
    book, people = _candidates(table, reference, settings)
    decided: dict[int, _Decision] = {}
    for n, position in enumerate(turn):
        own = {kind: table[kind][n] for kind in KINDS}
        decided[position] = _decide(
            book,
            own,
            table["site"][n] or "",
            ids[position],
            settings,
            sites[position],
            names.iloc[position],
            nameless=bool(nameless[position]),
        )
    chosen: list[_Decision] = [
        (decided[p] if keyless[p] else decided[int(earliest[codes[p]])]) if needed[p] else _NOBODY
        for p in range(len(header))
    ]
    decisions = pd.DataFrame(
        {
            "customer_action": text_column([d.action for d in chosen]),
            "CustomerID": text_column([d.customer for d in chosen]),
            "customer_key": text_column([d.key for d in chosen]),
            "customer_external_id": keys["external"].where(needed),
            "customer_match": text_column([d.kind for d in chosen]),
        },
        index=header.index,
    )
    columns, found = _verified(decisions, chosen, people)
    return Columns(columns, problems=found)


def _candidates(
    table: Mapping[str, Sequence[str | None]], reference: Reference, settings: Settings
) -> tuple[Book, pd.DataFrame]:
    """The customers that the orders may mean, by their keys, and as TIMS has them; those without a buyer, too.
    `table`: the keys of the orders, and their sites."""
    wanted = {kind: {value for value in table[kind] if value} for kind in KINDS}
    wanted["external"] |= {f"{site or ''}:{_HOUSE}" for site in set(table["site"])}
    book = Book()
    keyed = reference.keys_of(wanted)
    for kind, value, customer in keyed[["kind", "value", "CustomerID"]].itertuples(index=False, name=None):
        book.add(kind, value, customer)
    people = reference.customers_of({*keyed["CustomerID"].tolist(), *settings.guest_accounts})
    book.names = dict(zip(people["CustomerID"], map_text(people["Name"], fold).fillna(""), strict=True))
    return book, people


@dataclass(frozen=True)
class _Decision:
    action: str
    customer: str | None = None
    key: str | None = None
    kind: str | None = None  # of the key that matched
    candidates: tuple[str, ...] = ()
    weak: bool = False
    guest_account: bool = False


_NOBODY = _Decision("none")
_NEW = "new:"  # marks a customer that this batch creates


def _decide(
    book: Book,
    own: dict[str, str | None],
    site: str,
    order_id: object,
    settings: Settings,
    site_id: object,
    name: str,
    *,
    nameless: bool,
) -> _Decision:
    for kind in KINDS:
        value = own[kind]
        found = book.by_key.get((kind, value), set()) if value else set()
        external = own["external"]
        others = {c for c in found if external and book.accounts.get((c, site), {external}) - {external}}
        if kind == "email":  # a marketplace's address, or another name: another id of this site is another person
            mask = (value or "").startswith(f"{site}:")
            found = found - {c for c in others if mask or not book.may_be_called(c, name)}
        if not found:
            continue
        if len(found) > 1:
            return _Decision("ask", kind=kind, candidates=tuple(sorted(found)))
        (customer,) = found
        if kind in WEAK and customer in others:
            return _Decision("ask", kind=kind, candidates=(customer,), weak=True)
        if external:
            book.add("external", external, customer)
        if customer.startswith(_NEW):
            return _Decision("create", key=customer[len(_NEW) :], kind=kind)
        return _Decision("use", customer=customer, kind=kind)
    policy = settings.site(int(site_id)) if isinstance(site_id, (int, np.integer)) else settings.default
    if (nameless or own["external"] is None) and policy.guests == "account":
        return _Decision("use", customer=policy.guest_account, kind="guest_account", guest_account=True)
    if nameless:
        return _of_the_house(book, f"{site}:{_HOUSE}")
    key = own["external"] or f"{site}:{_ORDER}{order_id}"
    book.names[_NEW + key] = name
    for kind in KINDS:
        if value := own[kind]:
            book.add(kind, value, _NEW + key)
    return _Decision("create", key=key)


def _of_the_house(book: Book, key: str) -> _Decision:
    """The one customer of a site for orders that carry no person."""
    found = sorted(book.by_key.get(("external", key), ()))
    if len(found) > 1:
        return _Decision("ask", kind=HOUSE, candidates=tuple(found))
    if found and not found[0].startswith(_NEW):
        return _Decision("use", customer=found[0], kind=HOUSE)
    book.add("external", key, _NEW + key)
    return _Decision("create", key=key, kind=HOUSE)


def sites_of(header: pd.DataFrame) -> pd.Series:
    """`profile:site` of each order."""
    return header["ProfileID"].astype("str") + ":" + header["SiteID"].astype("str")


def _keys(header: pd.DataFrame, needed: np.ndarray, settings: Settings, reference: Reference) -> pd.DataFrame:
    """The keys of each order, and its `profile:site`; each distinct value is worked on once. Values that many buyers
    share are no keys; whether buyers of former orders do counts only for those orders that need a customer."""
    site = sites_of(header)
    buyer_id = _filled(column(header, "CustomerInfo.CustomerID"))
    address = column(header, "Customer.Email")
    codes, different = pd.factorize(address)
    relays = settings.relay_domains
    relay = np.array([*(emails.is_relay(a, relays) for a in different.tolist()), False], dtype=bool)[codes]
    plain = address.str.casefold()
    mail = plain.where(~relay, site + ":" + plain)
    parts = [column(header, f"ShipTo.{p}") for p in ADDRESS_PARTS]
    name, phone = column(header, "Customer.Name"), column(header, "Customer.Phone")
    groups, first = distinct(name, phone, *parts)
    rows = list(zip(*(values_at(v, first) for v in (name, phone, *parts)), strict=True))
    phones = [phone_key(r[1], r[2 + ADDRESS_PARTS.index("PostalCode")], r[-1]) for r in rows]
    addresses = [address_key(r[0], r[2:]) for r in rows]
    contacts = {"email": mail, "phone": phone}
    known_shared = reference.shared_of(
        {kind: values[needed].dropna().unique().tolist() for kind, values in contacts.items()}
    )
    shared = {
        kind: {value for what, value in known_shared if what == kind}
        | _shared(values, name, site, buyer_id, settings.shared_above)
        for kind, values in contacts.items()
    }
    phone_postal = pd.Series(text_column(phones).array.take(groups), index=header.index)
    return pd.DataFrame(
        {
            "site": site.astype(TEXT),
            "external": map_text((site + ":" + buyer_id).astype(TEXT), lambda key: fitting(key, LONGEST_ID)),
            "email": mail.mask(mail.isin(shared["email"])).astype(TEXT),
            "phone_postal": phone_postal.mask(phone.isin(shared["phone"])),
            "name_address": pd.Series(text_column(addresses).array.take(groups), index=header.index),
        }
    )


def _shared(values: pd.Series, names: pd.Series, sites: pd.Series, ids: pd.Series, most: int) -> set[str]:
    """Values that more than `most` buyers have: buyers of different names, or ids of one site."""
    if values.count() <= most:
        return set()
    frame = pd.DataFrame({"value": values, "site": sites, "id": ids}).assign(name=map_text(names, fold))
    frame = frame[frame["value"].notna()]
    by_name = frame.groupby("value")["name"].nunique()
    by_id = frame.groupby(["value", "site"])["id"].nunique()
    return {*by_name.index[by_name > most], *by_id.index.get_level_values("value")[by_id > most]}


_WORDS = {
    "external": "buyer id of the channel",
    "email": "e-mail address",
    "phone_postal": "phone and postal code",
    "name_address": "name and address",
    "guest_account": "guest account of the site",
    "house": "external id of the site's customer for orders without a person",
}


def _verified(
    columns: pd.DataFrame, chosen: list[_Decision], people: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Makes problems of questions and of customers who are not Active; the action of those orders is ask. `people`:
    the customers in question, as TIMS has them."""
    status = dict(zip(people["CustomerID"].tolist(), people["Status"].tolist(), strict=True))
    name = dict(zip(people["CustomerID"].tolist(), people["Name"].tolist(), strict=True))

    def shown(customer: str) -> str:
        if customer.startswith(_NEW):
            return f"a customer new in this batch ({customer[len(_NEW) :]})"
        return f"{customer} ({name.get(customer, 'not read from TIMS')}{_state(status.get(customer))})"

    questions: list[tuple[int, str]] = []
    inactive: list[tuple[int, str, str]] = []
    for row, decision in enumerate(chosen):
        if decision.action == "ask":
            people = "; ".join(shown(c) for c in decision.candidates[:SHOWN])
            why = (
                f"The same {_WORDS[decision.kind or '']}, but another buyer id on this site"
                if decision.weak
                else f"All have the buyer's {_WORDS[decision.kind or '']}"
            )
            questions.append((row, f"Which of these is the buyer? {people}. {why}."))
        elif decision.action == "use" and status.get(decision.customer or "", "") != "Active":
            state = status.get(decision.customer or "")
            if state is None and not decision.guest_account:
                state = "not among the customers read from TIMS"
            found = (
                f"The buyer is the customer {shown(decision.customer or '')}, found by {_WORDS[decision.kind or '']}."
            )
            inactive.append(
                (
                    row,
                    decision.customer or "",
                    f"{found} It is {state or 'unknown to TIMS'} and takes no orders.",
                )
            )
    bad = np.zeros(len(columns), dtype=bool)
    bad[[row for row, _ in questions] + [row for row, _, _ in inactive]] = True
    columns["customer_action"] = columns["customer_action"].mask(bad, "ask")
    columns["CustomerID"] = columns["CustomerID"].mask(bad)
    found_problems = [
        problems.make(
            [row for row, _ in questions],
            field="CustomerInfo",
            rule="customer_ambiguous",
            value=[", ".join(chosen[row].candidates[:SHOWN]) for row, _ in questions],
            message=[message for _, message in questions],
            do="Give the right customer the buyer id (ExternalIDs) in TIMS, or merge the customers there, then replay.",
        ),
        problems.make(
            [row for row, _, _ in inactive],
            field="CustomerInfo",
            rule="customer_inactive",
            value=[customer for _, customer, _ in inactive],
            message=[message for _, _, message in inactive],
            do="Make the customer Active in TIMS, or move the buyer's id and address to another customer, then replay.",
        ),
    ]
    return columns, problems.concat(found_problems)


def _state(status: str | None) -> str:
    return f", {status}" if status not in (None, "Active") else ""
