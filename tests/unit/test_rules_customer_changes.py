"""What orders change on a TIMS customer, and what they leave alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.rules.customer_changes import FIELDS, MOST_ADDRESSES, Ours, Statement, alike, decide, plain
from crossdock.rules.settings import Settings, Site
from examples import examples

SITE, OTHER_SITE = "1:640", "1:641"
RELAY = "x7k2p9@marketplace.example.com"
SETTINGS = Settings(sites={640: Site(relay_domains=("marketplace.example.com",))})
START = datetime(2011, 1, 4, 12, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def address(line1: str = "12 Elm Street", **parts: Any) -> dict[str, Any]:
    whole = {"Name": "Ada Miller", "Company": None, "Line1": line1, "Line2": None, "City": "Leeds", "Region": None,
             "PostalCode": "LS1 4AP", "CountryCode": "GB"}  # fmt: skip
    return whole | parts


def customer(version: int = 1, at: float = 0, **fields: Any) -> dict[str, Any]:
    empty = {"Email": None, "Phone": None, "BillingAddress": None, "ShippingAddresses": []}
    ids = [{"Source": "ChannelAdvisor", "ID": f"{SITE}:ada"}]
    return {"CustomerID": "C-1", "Status": "Active", "ExternalIDs": ids, "RowVersion": version,
            "ModifiedAt": day(at).isoformat().replace("+00:00", "Z"), **empty, **fields}  # fmt: skip


def statements(order: str, at: float, *, new: bool = True, site: str = SITE, **values: Any) -> Statement:
    return Statement(order, day(at), site, values, new)


def made_of(document: dict[str, Any]) -> list[Ours]:
    return [Ours(field, document[field], 1) for field in FIELDS]


def patch(*args: Any, settings: Settings = SETTINGS, ours: Any = ()) -> dict[str, Any]:
    """The fields that decide would set."""
    return {each.field: each.value for each in decide(*args, ours, settings) if not each.keep}


@pytest.mark.parametrize(
    ("field", "value"),
    [("Email", "new@example.com"), ("Phone", "+442079460002"), ("BillingAddress", address("9 Oak Road"))],
)
def test_a_newer_order_sets_a_field_that_differs_and_no_other(field, value):
    held = customer(Email="old@example.com", Phone="+442079460001", BillingAddress=address())
    assert patch([held], [statements("1", 3, **{field: value})]) == {field: value}


def test_what_an_order_does_not_say_empties_nothing():
    held = customer(Email="old@example.com", Phone="+442079460001", BillingAddress=address())
    nothing = {"Email": None, "Phone": "", "BillingAddress": None, "ShippingAddresses": None}
    assert decide([held], [statements("1", 3, **nothing)], (), SETTINGS) == []


def test_the_newest_order_wins_field_by_field_in_whatever_order_they_come():
    orders = [
        statements("3", 5, Email="third@example.com"),
        statements("1", 3, Email="first@example.com", Phone="+442079460001"),
        statements("2", 4, Email="second@example.com"),
    ]
    assert patch([customer()], orders) == {"Email": "third@example.com", "Phone": "+442079460001"}


def test_an_older_order_that_comes_late_changes_nothing():
    held = customer(2, 3.1, Email="new@example.com")
    mine = [Ours("Email", "new@example.com", 2)]
    orders = [statements("2", 3, new=False, Email="new@example.com"), statements("1", 2, Email="old@example.com")]
    assert decide([customer(), held], orders, mine, SETTINGS) == []


def test_an_order_that_only_confirmed_a_value_holds_it_against_older_ones():
    held = customer(Email="a@example.com")
    orders = [statements("2", 5, new=False, Email="a@example.com"), statements("1", 3, Email="b@example.com")]
    assert decide([held], orders, made_of(held), SETTINGS) == []


def test_a_worked_order_never_acts_again():
    assert decide([customer()], [statements("1", 3, new=False, Email="new@example.com")], (), SETTINGS) == []


def test_a_value_that_tims_refused_is_not_sent_again_because_an_older_order_comes_late():
    orders = [statements("2", 5, new=False, Phone="+442079460002"), statements("1", 3, Phone="+442079460001")]
    assert decide([customer()], orders, (), SETTINGS) == []


def test_what_a_person_set_after_the_order_stays_and_that_is_said():
    versions = [customer(Email="old@example.com"), customer(2, 4, Email="typed@example.com")]
    (kept,) = decide(versions, [statements("1", 3, Email="new@example.com")], (), SETTINGS)
    assert (kept.keep, kept.field, kept.order, kept.before, kept.value) == (
        True, "Email", "1", "typed@example.com", "new@example.com",
    )  # fmt: skip


def test_what_a_person_set_before_the_order_gives_way_and_other_fields_of_that_version_are_older():
    versions = [customer(Phone="+442079460001"), customer(2, 4, Phone="+442079460001", Email="typed@example.com")]
    orders = [statements("1", 3, Email="new@example.com", Phone="+442079460002")]
    assert patch(versions, orders) == {"Phone": "+442079460002"}
    assert patch(versions, [statements("1", 5, Email="new@example.com")]) == {"Email": "new@example.com"}


def test_what_a_person_emptied_after_the_order_stays_empty():
    versions = [customer(Email="old@example.com"), customer(2, 4)]
    assert patch(versions, [statements("1", 3, Email="new@example.com")]) == {}


def test_a_customer_that_was_there_before_counts_as_set_when_it_was_created():
    held = customer(at=4, Email="typed@example.com")
    assert patch([held], [statements("1", 3, Email="new@example.com")]) == {}
    assert patch([held], [statements("1", 5, Email="new@example.com")]) == {"Email": "new@example.com"}


def test_a_customer_that_was_made_from_an_order_gives_way_to_every_newer_order():
    held = customer(at=9, Email="first@example.com")  # a backfill: created long after both orders were placed
    orders = [statements("1", 1, new=False, Email="first@example.com"), statements("2", 2, Email="second@example.com")]
    assert patch([held], orders, ours=made_of(held)) == {"Email": "second@example.com"}


def test_our_own_change_is_no_persons_but_the_same_value_typed_later_is():
    mine = [Ours("Email", "a@example.com", 2)]
    versions = [customer(), customer(2, 3.1, Email="a@example.com")]
    late = statements("9", 3.05, Email="c@example.com")
    assert patch(versions, [late], ours=mine) == {"Email": "c@example.com"}
    typed = [customer(3, 4, Email="b@example.com"), customer(4, 5, Email="a@example.com")]
    assert patch([*versions, *typed], [late], ours=mine) == {}


def test_our_own_change_is_known_although_its_own_version_was_never_read():
    versions = [customer(), customer(5, 8, Email="a@example.com", Phone="+442079460001")]
    mine = [Ours("Email", "a@example.com", 3)]
    orders = [statements("1", 7, Email="b@example.com", Phone="+442079460002")]
    assert patch(versions, orders, ours=mine) == {"Email": "b@example.com"}  # the phone is a person's, of day 8


def test_a_mask_never_replaces_an_own_address_and_counts_on_its_own_site_only():
    order = statements("1", 3, Email=RELAY)
    assert patch([customer()], [order]) == {"Email": RELAY}
    assert patch([customer(Email="old-" + RELAY)], [order]) == {"Email": RELAY}
    assert patch([customer(Email="ada@example.com")], [order]) == {}
    assert patch([customer()], [statements("1", 3, site=OTHER_SITE, Email=RELAY)]) == {}
    elsewhere = [{"Source": "Elsewhere", "ID": f"{SITE}:ada"}]
    assert patch([customer(ExternalIDs=elsewhere)], [order]) == {}


def test_an_own_address_of_an_older_order_is_worth_more_than_a_newer_mask():
    orders = [statements("2", 5, new=False, Email=RELAY), statements("1", 3, site=OTHER_SITE, Email="ada@example.com")]
    held = customer(2, 5.1, Email=RELAY)
    assert patch([customer(), held], orders, ours=[Ours("Email", RELAY, 2)]) == {"Email": "ada@example.com"}


@pytest.mark.parametrize("status", ["Inactive", "Erased"])
def test_a_customer_that_is_not_active_is_left_alone(status):
    assert decide([customer(Status=status)], [statements("1", 3, Email="new@example.com")], (), SETTINGS) == []


def test_a_guest_account_is_left_alone():
    guests = Settings(sites={1: Site(guests="account", guest_account="C-1")})
    assert decide([customer()], [statements("1", 3, Email="new@example.com")], (), guests) == []


def test_the_newest_delivery_address_comes_first_and_the_others_stay_each_once():
    home, work = address(), address("1 Mill Lane")
    held = customer(ShippingAddresses=[home, work])
    new = address("7 Hill Top")
    assert patch([held], [statements("1", 3, ShippingAddresses=new)]) == {"ShippingAddresses": [new, home, work]}
    spelt = address("1, MILL LANE")
    assert patch([held], [statements("1", 3, ShippingAddresses=spelt)]) == {"ShippingAddresses": [work, home]}
    assert patch([held], [statements("1", 3, ShippingAddresses=address("12 ELM STREET"))]) == {}


def test_at_most_twenty_delivery_addresses_are_kept():
    held = customer(ShippingAddresses=[address(f"{n} Elm Street") for n in range(MOST_ADDRESSES)])
    (value,) = patch([held], [statements("1", 3, ShippingAddresses=address("99 Elm Street"))]).values()
    assert len(value) == MOST_ADDRESSES
    assert (value[0]["Line1"], value[-1]["Line1"]) == ("99 Elm Street", "18 Elm Street")


def test_a_name_is_never_changed():
    assert "Name" not in FIELDS
    assert patch([customer(Name="Ada Miller")], [statements("1", 3, Name="Ada Smith")]) == {}


# ---- whatever happens in whatever order ----------------------------------------------------------------------------

EMAILS = ("a@example.com", "b@example.com", "c@example.com", RELAY, "y@marketplace.example.com")
PHONES = ("+442079460001", "+442079460002", "+442079460003")
PLACES = tuple(address(f"{n} Elm Street") for n in range(3))
VALUES = {"Email": EMAILS, "Phone": PHONES, "BillingAddress": PLACES, "ShippingAddresses": PLACES}
# A person's values are of nobody else, so that it can be told whose value stands in the end.
TYPED = {"Email": "typed@example.com", "Phone": "+442079469999", "BillingAddress": address("1 Typed Road"),
         "ShippingAddresses": [address("1 Typed Road")]}  # fmt: skip


class Tims:
    """One customer: every version is kept, as raw keeps them, and what we wrote, as ops.customer_change does."""

    def __init__(self, document: dict[str, Any], *, of_an_order: bool) -> None:
        self.versions = [document]
        self.ours: list[Ours] = made_of(document) if of_an_order else []
        self.orders: dict[str, Statement] = {}
        self.changes = 0

    def write(self, at: float, **fields: Any) -> None:
        now = self.versions[-1]
        self.versions.append(customer(now["RowVersion"] + 1, at, **{f: now[f] for f in FIELDS} | fields))

    def arrive(self, order: Statement, at: float) -> None:
        if order.order not in self.orders:  # an order that TIMS has says nothing anew
            self.orders[order.order] = order
        found = decide(self.versions, list(self.orders.values()), self.ours, SETTINGS)
        changes = {each.field: each.value for each in found if not each.keep}
        if changes:
            self.changes += 1
            self.write(at, **changes)
            version = self.versions[-1]["RowVersion"]
            self.ours += [Ours(field, value, version) for field, value in changes.items()]
        self.orders = {key: Statement(o.order, o.at, o.site, o.values, False) for key, o in self.orders.items()}

    def held(self) -> dict[str, Any]:
        """The fields, of delivery addresses the usual one."""
        now = self.versions[-1]
        usual = {"ShippingAddresses": plain(now["ShippingAddresses"])[:1] if now["ShippingAddresses"] else None}
        return {field: plain(now[field]) for field in FIELDS} | usual


def an_order(number: int) -> st.SearchStrategy[Statement]:
    values = st.fixed_dictionaries({f: st.none() | st.sampled_from(v) for f, v in VALUES.items()})
    return st.builds(
        lambda at, values, site: Statement(str(number), day(at), site, values, True),
        st.integers(1, 9), values, st.sampled_from([SITE, OTHER_SITE]),
    )  # fmt: skip


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Statement], list[Statement], list[str], bool]:
    """Orders; the same in the order in which they arrive, some more than once; the fields that a person sets on day 5;
    whether the customer was made from an order."""
    orders = [draw(an_order(number)) for number in range(draw(st.integers(1, 6)))]
    arrivals = draw(st.permutations(orders + draw(st.lists(st.sampled_from(orders), max_size=3))))
    return orders, list(arrivals), draw(st.lists(st.sampled_from(FIELDS), unique=True)), draw(st.booleans())


@examples(300)
@given(stories())
def test_in_whatever_order_orders_arrive_and_are_repeated_the_customer_is_the_same(story):
    """A person's field survives every order that is older than it; the backfill comes after it all."""
    orders, arrivals, typed, of_an_order = story
    newest_first = sorted(orders, key=lambda each: each.turn, reverse=True)
    ends = []
    for row in (arrivals, newest_first, newest_first[::-1]):
        tims = Tims(customer(), of_an_order=of_an_order)
        if typed:
            tims.write(5, **{field: TYPED[field] for field in typed})
        for order in row:
            tims.arrive(order, at=20)
        ends.append(tims.held())
        changes = tims.changes
        for order in row:
            tims.arrive(order, at=30)
        assert tims.changes == changes
        for field in typed:
            newer = [o for o in orders if o.values[field] and o.at >= day(5)]
            if not newer:
                now = tims.versions[-1][field]
                assert plain(now) == plain(TYPED[field])
    assert ends[0] == ends[1] == ends[2]


@examples(300)
@given(stories(), st.integers(0, 6))
def test_orders_that_are_read_in_time_and_orders_that_come_late_end_alike(story, late):
    """In time: each is read on the day after it was placed, between them a person's work. Late: all read at the end."""
    orders, arrivals, typed, of_an_order = story
    ends = []
    for in_time in (sorted(orders, key=lambda each: each.turn), arrivals[:late]):
        tims = Tims(customer(), of_an_order=of_an_order)
        before = [o for o in in_time if o.at < day(5)]
        for order in before:
            tims.arrive(order, at=4.9)
        if typed:
            tims.write(5, **{field: TYPED[field] for field in typed})
        for order in [o for o in in_time if o not in before] + arrivals:
            tims.arrive(order, at=20)
        ends.append(tims.held())
    assert ends[0] == ends[1]


@examples(200)
@given(stories())
def test_a_persons_field_survives_also_where_versions_in_between_were_never_read(story):
    _orders, arrivals, typed, of_an_order = story
    tims = Tims(customer(), of_an_order=of_an_order)
    for order in arrivals[: len(arrivals) // 2]:
        tims.arrive(order, at=2)
    if typed:
        tims.write(50, **{field: TYPED[field] for field in typed})
    tims.versions = [tims.versions[0], tims.versions[-1]]
    for order in arrivals:
        tims.arrive(order, at=60)
    for field in typed:
        assert plain(tims.versions[-1][field]) == plain(TYPED[field])


@examples(100)
@given(st.lists(st.sampled_from(PLACES), max_size=3), st.sampled_from(PLACES))
def test_delivery_addresses_are_never_lost_and_never_doubled(held, new):
    before = customer(ShippingAddresses=[place for n, place in enumerate(held) if place not in held[:n]])
    after = patch([before], [statements("1", 3, ShippingAddresses=new)]).get(
        "ShippingAddresses", before["ShippingAddresses"]
    )
    assert alike("ShippingAddresses", after, new)
    assert sorted(map(plain, after)) == sorted({plain(a) for a in [*held, new]})
