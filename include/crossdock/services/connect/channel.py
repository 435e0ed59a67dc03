"""The checks of an account of Channel Advisor.

In: a probe of its connection. Out: checks. Never: a request that changes something.

The right to mark orders as exported cannot be tried without a mark. It is read from the token's scopes where the system
tells them; otherwise the mark of an order is asked for that does not exist.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from crossdock import settings
from crossdock.errors import CrossdockError
from crossdock.rules import settings as rule_settings
from crossdock.safe import safe
from crossdock.services.connect.checks import Check, Found, Profile, not_tried, ok, red, skipped
from crossdock.services.connect.lists import REFUSED, Cause, Lists, rate, read_by_flows, resources
from crossdock.services.connect.way import CONSOLE, clock, host_without_path, in_words, strange, token, way
from crossdock.systems.channel_advisor import MARK_AT, SERVED_AT, ChannelAdvisor, client_of, profiles_of
from crossdock.systems.limits import Limits
from crossdock.systems.probe import Probe, Unanswered

# Of each list of the contract the scope that it needs; the others need `inventory`, sites none.
SCOPES = {"orders": "orders", "shipping": "orders", "returns": "orders", "sites": ""}
READONLY = ".readonly"
WITH_PROFILE = ("distribution-centers", "orders", "products")  # lists whose rows name their profile
SURE = 2  # that an API is served: a list has come
NEWEST = 1_000  # orders in which sites are looked for
REFUSALS = (b'"error"', b'"Message"', b"Authorization has been denied")  # in an answer that looks like a success
STEPS = ("credentials", "refresh_token", "api", "scopes", "profiles", "resources", "limits", "export", "sites")
_any = msgspec.json.Decoder()


def check(probe: Probe, limits: Limits, found: Found) -> Iterator[Check]:
    """Tries everything that the flows need of the account."""
    connection = probe.connection
    refresh_token = str(connection.extra.get("refresh_token") or "")
    if not refresh_token:
        yield red(
            "refresh_token", "The connection has no refresh token.", "Channel Advisor gives no access without one.",
            f"Make one in {CONSOLE}, or by `crossdock connect channel_advisor --browser`.",
            f"refresh_token in the extra of {connection.variable}",
        )  # fmt: skip
        return
    if not (yield from way(probe)):
        yield from not_tried(("clock", *STEPS), "there is no way to it")
        return
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    credentials = yield from token(probe, form, found)
    if not credentials:
        yield clock(probe)
        yield from not_tried(STEPS[2:], "there is no token")
        return
    if not (yield from _api(probe, credentials, found)):
        yield clock(probe)
        yield from not_tried(STEPS[3:], "it is not known how to ask")
        return
    connection = replace(connection, extra=connection.extra | {"api": found.api})
    identity = _identity(probe, credentials)
    found.scopes = identity.get("scope", found.scopes)
    with client_of(connection, limits=limits) as client:
        wanted = read_by_flows("channel_advisor", client.can)
        for ability, sentence in client.can.missing:
            yield ok(f"ability:{ability}", sentence)
        lists = Lists(client, probe, credentials)
        no_date = client.can.clock_is_date and not probe.clocks
        covered = _covered(client, identity.get("profile", ()))
        wrong = sorted(set(profiles_of(connection)) - set(covered)) if covered else []
        because = Cause("profile " + ", ".join(map(str, wrong)) + " is not covered", REFUSED) if wrong else None
        because = Cause("its answers have no Date", ("not_contract",)) if no_date else because
        lacking = yield from _scopes(lists, wanted, found.scopes, because)
        readable = {path for path in wanted if SCOPES.get(path, "inventory") not in lacking}
        yield _profiles(lists, readable, covered, found)
        yield from resources(lists, wanted, readable, because)
        for number, fact in enumerate(client.facts() if "orders" in readable else (), 1):
            yield ok(f"fact:{number}", fact)
        yield rate(lists, limits)
        yield clock(probe, lists.clocks, by_date=client.can.clock_is_date)
        yield _export(client, probe, credentials, found, lacking)
        yield _sites(client, lists, readable)


def _api(probe: Probe, credentials: Mapping[str, str], found: Found) -> Generator[Check, None, str]:
    """Which API the account speaks: the one that the connection names, else the one that answers. Gives it, "" where
    there is none that Crossdock speaks."""
    connection, where = probe.connection, f"api in the extra of {probe.connection.variable}"
    named = str(connection.extra.get("api") or "")
    if named and named not in SERVED_AT:
        found.api = ""
        yield red(
            "api", f"The connection names the API {safe(named)}, which does not exist.",
            "Crossdock does not know how to ask.", f"Choose one of: {', '.join(SERVED_AT)}.", where,
        )  # fmt: skip
        return ""
    heard: list[str] = []
    odd: list[Check] = []
    apis = [named] if named else list(SERVED_AT)
    there = {api: _serves(probe, credentials, api, heard, odd) for api in apis}
    found.api = max(there, key=lambda api: there[api]) if any(there.values()) else ""
    others = [] if found.api or odd else [api for api in SERVED_AT if api not in there]
    other = next((api for api in others if _serves(probe, credentials, api, heard, odd) == SURE), "")
    if found.api:
        yield ok("api", f"It speaks {found.api}, {'as the connection says' if named else 'found by asking'}.")
    elif other:
        yield red(
            "api", f"It does not speak {named}, which the connection names, and speaks {other}.",
            "Crossdock asks in the wrong way; no list can be read.", f"Set api to {other}, or take it out.", where,
        )  # fmt: skip
    elif odd:
        yield odd[0]
    else:
        yield red(
            "api", f"No API that Crossdock speaks: {'; '.join(heard)}.",
            "The host is not the API's, its address has a path too many or too few, or something answers in its place.",
            f"{host_without_path(connection)}; the API of real accounts is https://api.channeladvisor.com.",
            f"host in {connection.variable}",
        )  # fmt: skip
    return found.api


def _serves(probe: Probe, credentials: Mapping[str, str], api: str, heard: list[str], odd: list[Check]) -> int:
    """Whether an API answers: SURE with a list, else 1 with a refusal of its own, 0 not at all; what was `heard`, and
    what was `odd`. A list that is missing says nothing where another is there."""
    best, variable = 0, probe.connection.variable
    for path, query in SERVED_AT[api]:
        try:
            answer = probe.get(path, credentials, query)
        except Unanswered as lost:
            odd.append(red("api", lost.error.message, "No list can be read.", lost.error.do, f"host in {variable}"))
            return 0
        if answer.status == 200 and answer.is_json:
            return SURE
        heard.append(f"{path} answers {in_words(answer)}")
        if one := strange("api", answer, path, probe.connection, "No list can be read."):
            odd.append(one)
        elif answer.status != 404:
            best = 1
    return best


def _identity(probe: Probe, credentials: Mapping[str, str]) -> dict[str, Any]:
    """What the token says of itself: `scope` (a frozenset) and `profile` (a list), each where the system tells it."""
    try:
        answer = probe.get("/oauth2/identity", credentials)
        statements = _any.decode(answer.content) if answer.status == 200 and answer.is_json else []
    except (Unanswered, msgspec.DecodeError):
        statements = []
    scopes: set[str] = set()
    profiles: list[int] = []
    for statement in statements if isinstance(statements, list) else []:
        kind, value = (
            (str(statement.get(name, "")) for name in ("Type", "Value")) if isinstance(statement, dict) else ("", "")
        )
        if kind == "urn:ca:claim:scope":
            scopes |= set(value.split())
        elif kind == "urn:ca:claim:profile" and value.strip().isdecimal():
            profiles.append(int(value))
    given: dict[str, Any] = {"scope": frozenset(scopes)} if scopes else {}
    return given | ({"profile": profiles} if profiles else {})


def _covered(client: ChannelAdvisor, of_token: Collection[int]) -> dict[int, str]:
    """The profiles that the authorisation covers: those that its token tells, else those that the API lists."""
    try:
        listed = client.profiles_covered()
    except CrossdockError:
        listed = {}
    return {number: listed.get(number, "") for number in of_token} or listed


def _scopes(
    lists: Lists, wanted: Mapping[str, Sequence[str]], scopes: frozenset[str] | None, because: Cause | None
) -> Generator[Check, None, set[str]]:
    """The scopes that the lists need. Where the system does not tell them, those are missing of which no list can be
    read; not so where that has another cause (`because`). Gives those that are missing."""
    needed: dict[str, list[str]] = defaultdict(list)
    for path in wanted:
        if scope := SCOPES.get(path, "inventory"):
            needed[scope].append(path)
    if scopes is None and because:
        yield skipped("scopes", f"Not tried: {because.words}.")
        return set()
    lacking = set()
    for scope, paths in needed.items():
        named = scopes is None or bool({scope, scope + READONLY} & scopes)
        lacking |= set() if named and (because or _opens(lists, paths)) else {scope}
    names = " ".join(sorted(needed))
    if lacking:
        blocked = sorted({flow for scope in lacking for path in needed[scope] for flow in wanted[path]})
        yield red(
            "scopes", f"The token lacks the scope {' and '.join(sorted(lacking))}"
            + (", although it names it: no list of it can be read." if scopes and lacking <= _whole(scopes) else "."),
            f"These flows cannot work: {', '.join(blocked)}.",
            f"Authorise the application anew with the scopes `{names}`, in {CONSOLE} or by `crossdock connect "
            "channel_advisor --browser`, and take the new refresh token.",
            f"refresh_token in the extra of {lists.client.connection.variable}",
        )  # fmt: skip
    else:
        yield ok(
            "scopes",
            f"The token has {' '.join(sorted(scopes))}."
            if scopes
            else f"It opens what {' and '.join(sorted(needed))} are for.",
        )
    return lacking


def _whole(scopes: Collection[str]) -> set[str]:
    """The scopes, those to read only among them, by the names of the whole ones."""
    return {scope.removesuffix(READONLY) for scope in scopes}


def _opens(lists: Lists, paths: Sequence[str]) -> bool:
    """Whether a scope is there, by its lists: none of them is refused, or one can be read."""
    denied = [path for path in paths if lists.denied(path)]
    return not denied or any(path not in lists.errors for path in paths)


def _profiles(lists: Lists, readable: Collection[str], covered: Mapping[int, str], found: Found) -> Check:
    """The profiles of the authorisation, and whether the connection's is one of them."""
    connection = lists.client.connection
    chosen, where = profiles_of(connection), f"profile_id in the extra of {connection.variable}"
    have = sorted(set(covered) or _profiles_of_rows(lists, readable, chosen))
    found.profiles = [Profile(number, covered.get(number, "")) for number in have]
    listing = ", ".join(f"{number} {safe(covered.get(number, ''))}".strip() for number in have)
    if not have:
        return skipped("profiles", "No row has come that names a profile; which ones it covers cannot be told.")
    if wrong := sorted(set(chosen) - set(have)):
        return red(
            "profiles",
            f"The connection names profile {', '.join(map(str, wrong))}; the authorisation covers {listing}.",
            "Nothing of the named profile would be read, and every write by SKU would be refused.",
            f"Name one that it covers ({listing}), or authorise the application for the other one in {CONSOLE}.", where,
        )  # fmt: skip
    if len(have) > 1 and not chosen:
        return red(
            "profiles", f"The authorisation covers several profiles ({listing}), and none is chosen.",
            "Lists would mix their rows, and writes by SKU are refused without a profile.",
            "Choose one or more: `crossdock connect channel_advisor --profile NUMBER`.", where,
        )  # fmt: skip
    more = f", of {len(have)} that the authorisation covers ({listing})" if len(have) > 1 else ""
    return ok("profiles", f"{', '.join(map(str, chosen)) or listing}{more}.")


def _profiles_of_rows(lists: Lists, readable: Collection[str], chosen: Sequence[int]) -> set[int]:
    """The profiles that rows name, where the token does not tell its own. The first rows may be of others than the
    chosen one, so that it is asked for by itself."""
    paths = [path for path in WITH_PROFILE if path in readable]
    rows = [row for path in paths for row in lists.rows(path)]
    seen = {number for row in rows if isinstance(number := row.get("ProfileID"), int)}
    return seen | {number for number in set(chosen) - seen if any(lists.has(path, profileId=number) for path in paths)}


def _export(
    client: ChannelAdvisor, probe: Probe, credentials: Mapping[str, str], found: Found, lacking: Collection[str]
) -> Check:
    """The right to mark orders as exported."""
    scopes = found.scopes
    if "orders" in lacking:
        return skipped("export", "Not tried: the scope orders is missing.")
    if scopes is not None and "orders" not in scopes:
        may, how = False, f"The token's scopes are {' '.join(sorted(scopes))}"
    elif refusal := _closed(probe, credentials, MARK_AT[found.api]):
        may, how = False, refusal
    else:
        try:
            may, how = client.may_mark_exported(), "Asked for the mark of an order that does not exist"
        except CrossdockError as error:
            return red("export", error.message, "Whether orders can be marked is not known.", error.do)
    if may:
        return ok("export", f"{how}: it would be set.")
    return red(
        "export", f"{how}: the token may read orders, and not mark or change them.",
        "Orders could not be marked as exported, and neither shipments nor holds nor refunds be sent.",
        f"Authorise the application anew with the scope `orders`, not `orders{READONLY}`, in {CONSOLE}, and take the "
        "new refresh token.",
        f"refresh_token in the extra of {client.connection.variable}",
    )  # fmt: skip


def _closed(probe: Probe, credentials: Mapping[str, str], path: str) -> str:
    """How the address of the mark refuses whoever only reads it; "" where it does not. A gateway may stand before it,
    whatever the scopes are."""
    try:
        answer = probe.get(path, credentials)
    except Unanswered:
        return ""
    spoken = answer.status == 200 and any(word in answer.content[:500] for word in REFUSALS)
    denied = answer.status in (401, 403) or spoken
    return f"{path} is refused ({answer.status})" if denied else ""


def _sites(client: ChannelAdvisor, lists: Lists, readable: Collection[str]) -> Check:
    """Sites that sell in the account and that sites.yaml does not name. Those of the newest orders; the list of sites
    counts where it is the account's own, and not of all that there are."""
    own = client.can.own_sites
    paths = [path for path in ("orders", *(["sites"] if own else [])) if path in readable]
    rows = [row for path in paths for row in lists.rows_as_received(path)]
    sites = {row["SiteID"]: str(row.get("SiteName") or "") for row in rows if isinstance(row.get("SiteID"), int)}
    if "orders" in paths and "orders" not in lists.errors:
        with suppress(CrossdockError):  # the first rows have to do
            sites |= client.newest_sites(NEWEST)
    if not sites:
        return skipped("sites", "No order and no site has come; which ones sell cannot be told.")
    unknown = sorted(set(sites) - set(rule_settings.load().sites))
    if not unknown:
        return ok("sites", f"All {len(sites)} are in sites.yaml.")
    listing = ", ".join(f"{number} {safe(sites[number])}".strip() for number in unknown)
    return red(
        "sites", f"sites.yaml does not know the site{'s' if len(unknown) > 1 else ''} {listing}.",
        "Orders from there would be taken in with the defaults: held until they are paid, under the site's own name, "
        "without a country.",
        "Add each under `sites`, with the channel's name in TIMS and its country; `crossdock map` proposes the lines.",
        str(settings.config_dir() / "sites.yaml"),
    )  # fmt: skip
