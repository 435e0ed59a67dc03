"""A subject of the reconciliation: the lists it reads, what each record states about which key, and what explains a
difference. Data and small functions; nothing here reads or writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from crossdock.rules import addresses, items
from crossdock.rules import settings as rule_settings
from crossdock.rules.settings import Settings
from crossdock.rules.statuses import read_statuses
from crossdock.steps import records

if TYPE_CHECKING:
    import sqlalchemy as sa

    from crossdock.runtime import Runtime

CHANNEL_ADVISOR, TIMS, NAMES, SOLD = "channel_advisor", "tims", "names", "sold"
EXPECTED = "expected"  # what TIMS's values should come to on the channel
SIDES = {CHANNEL_ADVISOR: "Channel Advisor", TIMS: "TIMS"}

DEAD, WAITING, IN_FLIGHT, CHANGED, BY_RULE, UNEXPLAINED = (
    "dead letter", "waiting", "in flight", "changed since", "by rule", "unexplained"
)  # fmt: skip
CAUSES = (UNEXPLAINED, DEAD, WAITING, IN_FLIGHT, CHANGED, BY_RULE)  # the worst first
MEANING = {
    UNEXPLAINED: "nobody knows why: look at it",
    DEAD: "a person has to mend a record",
    WAITING: "for its payment, or for another record",
    IN_FLIGHT: "a flow has not carried it yet",
    CHANGED: "while both systems were read, or just before",
    BY_RULE: "meant to be so",
}

CHANGED_AT = {CHANNEL_ADVISOR: "UpdatedDate", TIMS: "ModifiedAt"}  # the field that is a record's version
RECORD = "record"  # the only fact of a record that cannot be read beyond its key


class Excuse(NamedTuple):
    """Why the other side may lack a key: `cause` is one of CAUSES."""

    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one record states about one key. `facts` must be equal on both sides; a fact of None is not compared.
    `part` tells records of one key apart (invoices of an order); on the side `names` it is the other name of the key.
    `excuse`: what explains that the other side lacks the key."""

    key: str
    facts: Mapping[str, Any]
    version: str  # RFC 3339, as received
    part: str = ""
    excuse: Excuse | None = None


@dataclass(frozen=True)
class Lists:
    """One list of one system; subjects that name the same one share the read. `truncated`: the list may leave lines
    out, then the record is read whole. `unread_by`: only what this flow has not read yet."""

    system: str
    path: str
    ids: tuple[str, ...]  # fields that name a record
    truncated: bool = False
    unread_by: str = ""


class Center(msgspec.Struct):
    """A distribution center: the fields that tell whose it is."""

    DistributionCenterID: int
    IsExternallyManaged: bool
    IsDeleted: bool


class PassedOver:
    """Records that could not be compared, by subject: {name: reason}. A record that is read later is taken off."""

    def __init__(self) -> None:
        self.of: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.any = False

    def note(self, subject: str, source: Lists, name: str, why: str) -> None:
        """Notes a record that `subject` could not compare."""
        self.of[subject][_named(source, name)] = why
        self.any = True

    def came_well(self, subject: str, source: Lists, name: str) -> None:
        self.of[subject].pop(_named(source, name), None)


def _named(source: Lists, name: str) -> str:
    return f"{SIDES[source.system]}, {source.path}, {name}"


def whole(value: Any) -> int:
    """A whole number of units. Raises TypeError or ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise TypeError("no number")
    units = int(value)
    if units != value or abs(units) >= 2**63:
        raise ValueError("no number of units")
    return units


class Rules:
    """The configuration, read once per run, and the seller's own distribution centers."""

    def __init__(self, runtime: Runtime | None = None, settings: Settings | None = None) -> None:
        self._runtime = runtime
        self.settings = settings or rule_settings.load()
        self.statuses, self.payments = (
            {key: row["tims"] for key, row in table.rows.items()} for table in read_statuses()
        )
        self.places = addresses.AddressBooks(self.settings)
        self._codes = items.Codes(self.settings)
        sites = (self.settings.default, *self.settings.sites.values())
        self.elsewhere = frozenset(site.marketplace_location for site in sites)
        self.passed = PassedOver()
        self._actions: dict[str, str] = {}

    @cached_property
    def other_profiles(self) -> tuple[int, ...]:
        """The profiles beside the first in whose products an item may be sold, too."""
        return self._runtime.channel_advisor.other_profiles if self._runtime else ()

    @cached_property
    def own_centers(self) -> frozenset[int]:
        """The distribution centers whose stock we write."""
        assert self._runtime is not None
        own = set()
        for page in self._runtime.channel_advisor.pages(CENTERS.path):
            for record in page.records:
                try:
                    center = msgspec.json.decode(record, type=Center)
                except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
                    name = records.name(CENTERS.ids, bytes(record))
                    self.passed.note("quantities", CENTERS, name, f"whose center it is cannot be read: {wrong}")
                    continue
                if not (center.IsExternallyManaged or center.IsDeleted):
                    own.add(center.DistributionCenterID)
        return frozenset(own)

    def is_sold(self, line: Mapping[str, Any]) -> bool:
        """Whether a line of a channel's order is a line in TIMS too. Postage, discounts and free remarks are not."""
        code = str(line["SKU"] or "").strip()
        action = self._actions.get(code)
        if action is None:
            found = self._codes.listed(code)
            action = self._actions[code] = found.action if found else items.PRODUCT
        if action == items.IGNORE:
            return bool(line.get("UnitPrice"))
        return action not in (items.SHIPPING, items.DISCOUNT)


CENTERS = Lists(CHANNEL_ADVISOR, "distribution-centers", ("DistributionCenterID",))
ORDERS = Lists(CHANNEL_ADVISOR, "orders", ("ChannelAdvisorOrderID",), truncated=True)
SALES_ORDERS = Lists(TIMS, "sales-orders", ("SalesOrderID",))
Reader = Callable[[dict[str, Any], Rules], Iterable[Row]]


def stating(key: str, field: str, states: Mapping[str, str], **only: str) -> Reader:
    """A reader of records that state one thing: the fact `state` is what `states` makes of `field`, and nothing where
    it has no word for it. `only`: values of fields that records without a part in this do not have."""

    def read(record: dict[str, Any], rules: Rules) -> Iterable[Row]:
        if all(record[name] == value for name, value in only.items()):
            version = record["UpdatedDate"] if "UpdatedDate" in record else record["ModifiedAt"]
            yield Row(str(record[key]), {"state": states.get(record[field])}, version)

    return read


@dataclass(frozen=True)
class Side:
    """A list as one subject reads it. `alias`: its rows are keyed by another name (an invoice by its SalesOrderID),
    which rows of the side `names` translate; an unknown name stays as it is. Rows of the side `sold` are not compared;
    they explain. `key`: finds the key of a record that cannot be read any further."""

    side: str  # CHANNEL_ADVISOR, TIMS, NAMES or SOLD
    source: Lists
    rows: Reader
    alias: bool = False
    key: Callable[[dict[str, Any]], str | None] = lambda _: None


@dataclass(frozen=True)
class Explanation:
    """A query over `explain.FOUND` (the differences of the subject that nothing explains yet) that gives (id, cause,
    why) for those it explains. The first one decides. `moment` is when this look at both systems began, less some
    seconds, by the database's clock. `given`: parameters of its own, worked out from our records."""

    query: sa.Select | sa.TextClause
    given: Callable[[sa.Connection], Mapping[str, Any]] = lambda _: {}


@dataclass(frozen=True)
class Subject:
    """One thing that both systems must agree on.

    `keys`: all = a key that one side lacks is a difference; both = only what both have is compared (another subject
    tells of the rest); channel_advisor = what the channel has is compared. `summed`: facts that are added up over the
    parts of a key. `last_only`: of the keys with one name only the one with the largest fact `at` is compared.
    `private`: the values are personal data, so they are told nowhere. `expected`: see the package's docstring.
    """

    name: str
    title: str
    one: str  # what one key is, for sentences
    sides: tuple[Side, ...]
    explained: tuple[Explanation, ...] = ()
    do: str = ""  # what to do about one that is unexplained
    keys: Literal["all", "both", "channel_advisor"] = "all"
    summed: frozenset[str] = field(default_factory=frozenset)
    last_only: bool = False
    private: bool = False
    expected: sa.TextClause | None = None
