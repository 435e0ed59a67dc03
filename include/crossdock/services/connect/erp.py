"""The checks of a TIMS installation.

In: a probe of its connection; accounts.yaml and sites.yaml. Out: checks. Never: a request that changes something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

from crossdock import flows, settings
from crossdock.errors import CrossdockError, RecordRejected
from crossdock.mapping import contracts
from crossdock.rules import accounts
from crossdock.rules import settings as rule_settings
from crossdock.safe import safe
from crossdock.services.connect.checks import SCOPE_MISSING, Check, Found, not_tried, ok, red, skipped
from crossdock.services.connect.lists import DENIED, Lists, rate, read_by_flows, resources
from crossdock.services.connect.way import clock, token, way
from crossdock.systems.channel_advisor import Abilities, ChannelAdvisor
from crossdock.systems.failures import NAMES
from crossdock.systems.limits import Limits
from crossdock.systems.probe import Probe
from crossdock.systems.tims import Tims, adaptation, client_of
from crossdock.systems.tims.adapted import headers_of

STEPS = ("credentials", "scopes", "resources", "limits", "company", "accounts", "locations", "customers")
ACCOUNTS, QUANTITIES, CUSTOMERS, COMPANY = "gl/accounts", "inventory/quantities", "customers", "company"
LOGIN_TRIES = 3  # documents that are asked for until one tells whether the login is right


def check(probe: Probe, limits: Limits, found: Found) -> Iterator[Check]:
    """Tries everything that the flows need of the installation."""
    connection = probe.connection
    if not (yield from way(probe)):
        yield from not_tried(("clock", *STEPS), "there is no way to it")
        return
    adapted = adaptation.load()
    with client_of(connection, limits=limits) as client:
        wanted = read_by_flows("tims", Abilities())
        credentials = yield from _login(probe, client, adapted, wanted, found)
        if not credentials:
            yield clock(probe)
            yield from not_tried(STEPS[1:], "nobody is let in")
            return
        lists = Lists(client, probe, credentials)
        scopes = found.scopes if adapted.is_contract else None  # another installation names them as it likes
        if scopes is None:
            lacking = yield from _denied(lists, wanted)
            readable = set(wanted) - lacking
        else:
            lacking = yield from _scopes(lists, wanted, scopes)
            readable = {path for path in wanted if not _read_scopes(path) & lacking and not lists.denied(path)}
        yield from resources(lists, wanted, readable)
        yield rate(lists, limits)
        lists.bare_answer(f"GET {client.address(CUSTOMERS)}")  # for its Date: the API's need not be that of the host
        yield clock(probe, lists.clocks)
        yield _company(lists, readable)
        yield _accounts(lists, readable)
        yield _locations(lists, readable)
        yield _customers(lists, readable)


def _login(
    probe: Probe, client: Tims, adapted: adaptation.Adaptation, wanted: Collection[str], found: Found
) -> Generator[Check, None, dict[str, str]]:
    """Logs in as tims.yaml says. Gives the headers that carry the login; none where it is refused."""
    connection, login = probe.connection, adapted.login
    if login.kind == "client_credentials":
        return (yield from token(probe, {"grant_type": "client_credentials"}, found, login.token_path))
    headers, refused = headers_of(connection, login), ""
    lists = Lists(client, probe, headers)
    for path in (COMPANY, *sorted(set(wanted) - {COMPANY}))[:LOGIN_TRIES]:
        lists.rows(path)
        error = lists.errors.get(path)
        if error is None:
            yield ok("credentials", f"{safe(connection.login)} is let in.")
            return headers
        refused = error.failure if error.failure in ("invalid_client", *DENIED) else refused
        if error.failure == "invalid_client":
            break
    if not refused:
        yield skipped("credentials", "TIMS gave no answer by which it could be told; see below.")
        return headers
    key = login.kind == "api_key"
    status = "401" if refused == "invalid_client" else refused
    yield red(
        "credentials",
        f"The {'key' if key else f'login {safe(connection.login)} or its password'} is wrong ({status}).",
        "Nothing can be read." + (" Or it is right, and has no right to read anything." if status == "403" else ""),
        "Have the administrator of TIMS look it up or make a new one; mind spaces at the ends."
        + (f" It is sent as {login.header}: compare that name, too." if key else ""),
        f"{'password' if key else 'login and password'} of {connection.variable}",
    )
    return {}


def _denied(lists: Lists, wanted: Mapping[str, Sequence[str]]) -> Generator[Check, None, set[str]]:
    """The lists that the login may not read, where TIMS does not tell the scopes of a token. Gives them."""
    system, login = NAMES["tims"], safe(lists.client.connection.login)
    denied = {path for path in sorted(wanted) if lists.denied(path)}
    if not denied:
        yield skipped("scopes", "TIMS does not tell the scopes of a token: each list is tried by itself.")
        return set()
    blocked = sorted({flow for path in denied for flow in wanted[path]})
    whole = len(denied) == len(wanted)
    scopes = sorted({scope for path in denied for scope in _read_scopes(path)})
    yield red(
        "scopes", f"The login {login} may not read {'anything' if whole else ', '.join(sorted(denied))} "
        f"({lists.errors[min(denied)].failure}).",
        f"These flows cannot work: {', '.join(blocked)}.",
        f"Have the administrator of TIMS give the client the right to read them, and to write what the flows write "
        f"(in the contract's words: {', '.join(scopes)}). It needs no new secret.",
        f"the client {login} in {system}",
    )  # fmt: skip
    return denied


def _read_scopes(path: str) -> set[str]:
    """The scopes that the contract asks for a list."""
    operation = contracts.load("tims")["paths"].get(f"/api/v1/{path}", {}).get("get", {})
    return {scope for one in operation.get("security", ()) for given in one.values() for scope in given}


def _offered() -> set[str]:
    """All scopes of the contract."""
    schemes = contracts.load("tims")["components"]["securitySchemes"].values()
    return {scope for one in schemes for each in one.get("flows", {}).values() for scope in each.get("scopes", {})}


def _scopes(
    lists: Lists, wanted: Mapping[str, Sequence[str]], scopes: frozenset[str] | None
) -> Generator[Check, None, set[str]]:
    """The scopes that the flows need: of what they read and, where they write to TIMS, the ones to write the same.
    Gives those that are missing; none where TIMS does not tell the token's scopes."""
    if scopes is None:
        yield skipped("scopes", "TIMS does not tell the scopes of a token: each list is tried by itself.")
        return set()
    writers = {flow.title for flow in flows.all_flows().values() if flow.target == "tims"}
    needed: dict[str, set[str]] = defaultdict(set)
    for path, who in wanted.items():
        for scope in _read_scopes(path):
            needed[scope] |= set(who)
            writes = scope.replace(".read", ".write")
            if writes in _offered() and writers & set(who):
                needed[writes] |= writers & set(who)
    lacking = set(needed) - scopes
    if lacking:
        blocked = sorted({flow for scope in lacking for flow in needed[scope]})
        yield red(
            "scopes", f"The login lacks the scope {', '.join(sorted(lacking))}.",
            f"These flows cannot work: {', '.join(blocked)}.",
            "Have the administrator of TIMS give the client these scopes. It needs no new secret.",
            f"the client {safe(lists.client.connection.login)} in TIMS",
        )  # fmt: skip
    elif any(map(lists.denied, wanted)):
        yield from _denied(lists, wanted)
    else:
        yield ok("scopes", f"All {len(needed)} that are needed.")
    return lacking


def _unread(lists: Lists, name: str, path: str, readable: Collection[str]) -> Check | None:
    """Why a check cannot be made of a list; None where it can."""
    if path not in readable:
        return skipped(name, SCOPE_MISSING)
    lists.rows(path)
    return skipped(name, f"Not tried: the list {path} cannot be read.") if path in lists.errors else None


def _company(lists: Lists, readable: Collection[str]) -> Check:
    if unread := _unread(lists, "company", COMPANY, readable):
        return unread
    company = next(iter(lists.rows(COMPANY)), {})
    name, zone, currency = (safe(company.get(key) or "?") for key in ("CompanyName", "TimeZone", "BaseCurrency"))
    return ok("company", f"{name}; books in {currency}, days by {zone}.")


def _accounts(lists: Lists, readable: Collection[str]) -> Check:
    """The codes of accounts.yaml, of which posting.yaml speaks, in TIMS's chart."""
    if unread := _unread(lists, "accounts", ACCOUNTS, readable):
        return unread
    try:
        chart = {str(row.get("AccountCode")): bool(row.get("Blocked")) for row in lists.every_row(ACCOUNTS)}
    except CrossdockError as error:
        return red("accounts", error.message, "Which accounts exist is not known.", error.do)
    given = accounts.load()
    named = [(code, name, one.line) for name, one in given.named.items() for code in sorted(set(one.codes.values()))]
    missing = [f"{code} ({name}, line {line})" for code, name, line in named if code not in chart]
    blocked = [f"{code} ({name}, line {line})" for code, name, line in named if chart.get(code)]
    if not missing and not blocked:
        return ok("accounts", f"All {len({code for code, *_ in named})} codes of accounts.yaml are in TIMS's chart.")
    lines = [f"TIMS's chart of accounts lacks {', '.join(missing)}"] if missing else []
    lines += [f"TIMS blocks {', '.join(blocked)}"] if blocked else []
    return red(
        "accounts", f"{'; '.join(lines)}.", "The ledger stops before it posts anything.",
        "Correct the code in the line named, or have the account set up or unblocked in TIMS.", str(given.file),
    )  # fmt: skip


def _locations(lists: Lists, readable: Collection[str]) -> Check:
    """The warehouses that sites.yaml names: each must hold or expect something."""
    if unread := _unread(lists, "locations", QUANTITIES, readable):
        return unread
    given = rule_settings.load()
    names = {
        name
        for site in (given.default, *given.sites.values())
        for name in (site.location, site.marketplace_location, site.returns_location)
    }
    try:
        unknown = [name for name in sorted(names) if not _holds(lists.client, name)]
    except CrossdockError as error:
        return red("locations", error.message, "Which warehouses exist is not known.", error.do)
    if not unknown:
        return ok("locations", f"{', '.join(sorted(names))} hold stock.")
    return red(
        "locations", f"TIMS holds nothing in {', '.join(map(safe, unknown))}, which sites.yaml names.",
        "It may be a name that TIMS does not have: shipments from it and goods that come back to it would be refused.",
        "Correct location, marketplace_location or returns_location, or have the location set up in TIMS.",
        str(settings.config_dir() / "sites.yaml"),
    )  # fmt: skip


def _holds(client: Tims | ChannelAdvisor, location: str) -> bool:
    first = next(client.pages(QUANTITIES, limit=1, LocationID=location), None)
    return bool(first and first.records)


def _customers(lists: Lists, readable: Collection[str]) -> Check:
    """The guest accounts that sites.yaml names."""
    if unread := _unread(lists, "customers", CUSTOMERS, readable):
        return unread
    names, unknown = sorted(rule_settings.load().guest_accounts), []
    for name in names:
        try:
            lists.client.record(CUSTOMERS, name)
        except RecordRejected:
            unknown.append(safe(name))
        except CrossdockError as error:
            return red("customers", error.message, "Which customers exist is not known.", error.do)
    if unknown:
        return red(
            "customers", f"TIMS has no customer {', '.join(unknown)}, a guest_account of sites.yaml.",
            "Orders of guests would be dead letters.", "Correct guest_account, or have the customer set up in TIMS.",
            str(settings.config_dir() / "sites.yaml"),
        )  # fmt: skip
    return ok("customers", f"{', '.join(names)} are there." if names else "No guest account is named.")
