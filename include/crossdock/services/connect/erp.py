"""The checks of a TIMS installation.

In: a probe of its connection; accounts.yaml and sites.yaml. Out: checks. Never: a request that changes something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

from crossdock import flows, settings
from crossdock.errors import AuthError, CrossdockError, RecordRejected
from crossdock.mapping import contracts
from crossdock.rules import accounts
from crossdock.rules import settings as rule_settings
from crossdock.safe import safe
from crossdock.services.connect.checks import SCOPE_MISSING, Check, Found, not_tried, ok, red, skipped
from crossdock.services.connect.lists import Lists, rate, read_by_flows, resources
from crossdock.services.connect.way import token, way
from crossdock.systems.channel_advisor import Abilities
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.probe import Probe
from crossdock.systems.tims import Tims, adaptation, client_of
from crossdock.systems.tims.adapted import headers_of

STEPS = ("credentials", "scopes", "resources", "limits", "company", "accounts", "locations", "customers")
ACCOUNTS, QUANTITIES, CUSTOMERS = "gl/accounts", "inventory/quantities", "customers"


def check(probe: Probe, limits: Limits, found: Found) -> Iterator[Check]:
    """Tries everything that the flows need of the installation."""
    connection = probe.connection
    if not (yield from way(probe)):
        yield from not_tried(STEPS, "there is no way to it")
        return
    adapted = adaptation.load()
    with client_of(connection, limits=limits) as client:
        credentials = yield from _login(probe, client, adapted, found)
        if not credentials:
            yield from not_tried(STEPS[1:], "nobody is let in")
            return
        wanted = read_by_flows("tims", Abilities())
        scopes = found.scopes if adapted.is_contract else None  # another installation names them as it likes
        lacking = yield from _scopes(connection, wanted, scopes)
        readable = {path for path in wanted if not _read_scopes(path) & lacking}
        lists = Lists(client, probe, credentials)
        yield from resources(lists, wanted, readable)
        yield rate(lists, limits)
        yield _company(client)
        yield _accounts(lists, readable)
        yield _locations(client, readable)
        yield _customers(client, readable)


def _login(
    probe: Probe, client: Tims, adapted: adaptation.Adaptation, found: Found
) -> Generator[Check, None, dict[str, str]]:
    """Logs in as tims.yaml says. Gives the headers that carry the login; none where it is refused."""
    connection, login = probe.connection, adapted.login
    if login.kind == "client_credentials":
        return (yield from token(probe, {"grant_type": "client_credentials"}, found, login.token_path))
    try:
        client.company()
    except AuthError as error:
        if error.failure == "invalid_client":
            key = login.kind == "api_key"
            yield red(
                "credentials",
                f"The {'key' if key else f'login {safe(connection.login)} or its password'} is wrong (401).",
                "Nothing can be read.",
                "Have the administrator of TIMS look it up or make a new one; mind spaces at the ends."
                + (f" It is sent as {login.header}: compare that name, too." if key else ""),
                f"{'password' if key else 'login and password'} of {connection.variable}",
            )
            return {}
    except CrossdockError:
        yield skipped("credentials", "TIMS did not answer the question for its company; see below.")
        return headers_of(connection, login)
    yield ok("credentials", f"{safe(connection.login)} is let in.")
    return headers_of(connection, login)


def _read_scopes(path: str) -> set[str]:
    """The scopes that the contract asks for a list."""
    operation = contracts.load("tims")["paths"].get(f"/api/v1/{path}", {}).get("get", {})
    return {scope for one in operation.get("security", ()) for given in one.values() for scope in given}


def _offered() -> set[str]:
    """All scopes of the contract."""
    schemes = contracts.load("tims")["components"]["securitySchemes"].values()
    return {scope for one in schemes for each in one.get("flows", {}).values() for scope in each.get("scopes", {})}


def _scopes(
    connection: Connection, wanted: Mapping[str, Sequence[str]], scopes: frozenset[str] | None
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
            f"the client {safe(connection.login)} in TIMS",
        )  # fmt: skip
    else:
        yield ok("scopes", f"All {len(needed)} that are needed.")
    return lacking


def _company(client: Tims) -> Check:
    try:
        company = client.company()
    except CrossdockError as error:
        return red("company", error.message, "Currency and days of the books are not known.", error.do)
    name, zone, currency = (safe(company.get(key) or "?") for key in ("CompanyName", "TimeZone", "BaseCurrency"))
    return ok("company", f"{name}; books in {currency}, days by {zone}.")


def _accounts(lists: Lists, readable: Collection[str]) -> Check:
    """The codes of accounts.yaml, of which posting.yaml speaks, in TIMS's chart."""
    if ACCOUNTS not in readable:
        return skipped("accounts", SCOPE_MISSING)
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


def _locations(client: Tims, readable: Collection[str]) -> Check:
    """The warehouses that sites.yaml names: each must hold or expect something."""
    if QUANTITIES not in readable:
        return skipped("locations", SCOPE_MISSING)
    given = rule_settings.load()
    names = {
        name
        for site in (given.default, *given.sites.values())
        for name in (site.location, site.marketplace_location, site.returns_location)
    }
    try:
        unknown = [name for name in sorted(names) if not _holds(client, name)]
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


def _holds(client: Tims, location: str) -> bool:
    first = next(client.pages(QUANTITIES, limit=1, LocationID=location), None)
    return bool(first and first.records)


def _customers(client: Tims, readable: Collection[str]) -> Check:
    """The guest accounts that sites.yaml names."""
    if CUSTOMERS not in readable:
        return skipped("customers", SCOPE_MISSING)
    names, unknown = sorted(rule_settings.load().guest_accounts), []
    for name in names:
        try:
            client.record(CUSTOMERS, name)
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
