"""`crossdock connect` and the twelve faults of a connection, each as several servers would show it: over both dialects
of the channel and both flavours of TIMS. The command is run as a person runs it; what it says is held to be the fault
and no other, with what to do about it; what it sends, to reads and tokens; what it shows, to be no secret."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from contract.misbehaving import Reply, Request, ok
from contract.tampering import Tampered, changed
from crossdock import cli, settings
from sandbox import world as worlds
from sandbox.control import SYSTEMS, Control
from sandbox.tims_legacy import server as legacy
from sandbox_servers import serving

PLENTY = 1_000_000
CHANNEL, TIMS = SYSTEMS
PROFILE = 12345678
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form></form></body></html>"
BUSY_PAGE = b"<html><head><title>Down for maintenance</title></head></html>"
DENIED = {"Message": "Authorization has been denied for this request."}
EACH = ("facade", "v1", "tims", "legacy")
BOTH = ("facade", "v1")


@dataclass(frozen=True)
class Flavour:
    """One kind of account. `lists`: paths of lists by what they hold; `rows`: where a list has its rows."""

    system: str
    server: str
    login: str
    secret: str
    lists: dict[str, str]
    rows: str
    api: str = ""
    token: str = "/oauth2/token"
    every_list: str = ""


FLAVOURS = {
    "facade": Flavour(
        CHANNEL, CHANNEL, "crossdock-sandbox", "sandbox-secret",
        {"orders": "/v2/orders", "returns": "/v2/returns", "inventory": "/v2/inventory", "sites": "/v2/sites",
         "mark": "/v2/orders/0/exported"},
        "value", "v2", every_list="/v2/.*",
    ),
    "v1": Flavour(
        CHANNEL, CHANNEL, "crossdock-sandbox", "sandbox-secret",
        {"orders": "/v1/Orders", "shipping": "/v1/Fulfillments", "inventory": "/v1/Products", "sites": "/v1/Sites",
         "adjustments": "/v1/OrderItemAdjustments", "adjustments of orders": "/v1/OrderAdjustments",
         "mark": r"/v1/Orders\(0\)/Export"},
        "value", "v1", every_list="/v1/.*",
    ),
    "tims": Flavour(
        TIMS, TIMS, "crossdock-sandbox", "sandbox-secret",
        {"customers": "/api/v1/customers", "gl/accounts": "/api/v1/gl/accounts", "company": "/api/v1/company",
         "ar/payments": "/api/v1/ar/payments"},
        "Items", every_list="/api/v1/.*",
    ),
    "legacy": Flavour(
        TIMS, "tims_legacy", legacy.LOGIN, legacy.PASSWORD,
        {"customers": "/erp/v3/debtors", "gl/accounts": "/erp/v3/accounts", "company": "/erp/v3/firm",
         "ar/payments": "/erp/v3/receipts"},
        "rows", token="", every_list="/erp/v3/.*",
    ),
}  # fmt: skip


@dataclass
class Account:
    """A connection to be tried, and the server behind it."""

    name: str
    server: Tampered
    config: Path
    secret: str
    refresh: str = "sandbox-refresh-of-a-seller"
    url: str = ""
    login: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def flavour(self) -> Flavour:
        return FLAVOURS[self.name]

    @property
    def variable(self) -> str:
        return f"AIRFLOW_CONN_{self.flavour.system.upper()}"

    def connection(self) -> str:
        extra: dict[str, Any] = dict(self.extra)
        if self.flavour.system == CHANNEL:
            extra = {"refresh_token": self.refresh, "api": self.flavour.api} | extra
        return json.dumps(
            {"conn_type": self.flavour.system, "host": self.url or self.server.url, "password": self.secret,
             "login": self.login or self.flavour.login, "extra": extra}
        )  # fmt: skip

    def of(self, list_: str) -> str:
        return self.flavour.lists[list_]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tampered]]:
    """Both systems and the older TIMS, with the reference data and the first day; before each a server that changes
    answers."""
    world, found = worlds.load(), {}
    end = world.first + timedelta(days=1)
    with ExitStack() as stack:
        for name in (CHANNEL, TIMS, "tims_legacy"):
            line = stack.enter_context(serving(name, tmp_path_factory.mktemp(name), PLENTY))
            system = CHANNEL if name == CHANNEL else TIMS
            control = Control(system, next(word.rstrip(",") for word in line.split() if word.startswith("http:")))
            control.set_clock(world.start)
            events = [*world.reference_events(), *world.events(world.start, end)]
            control.apply(event.as_dict() for event in events if event.system == system)
            control.set_clock(end)
            found[name] = Tampered(control.url)
            stack.callback(found[name].close)
        yield found


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A configuration that knows all sites of the sandbox."""
    folder = shutil.copytree(settings.PROJECT / "include" / "config", tmp_path / "config")
    sites = folder / "sites.yaml"
    sites.write_text(sites.read_text() + '  955:\n    channel: Fruugo\n    country: "GB"\n')
    with settings.using(folder):
        yield folder


@pytest.fixture
def account(request: pytest.FixtureRequest, servers: dict[str, Tampered], config: Path) -> Iterator[Account]:
    name = request.param
    if name == "legacy":
        shutil.copy(Path(legacy.__file__).with_name("tims.yaml"), config / "tims.yaml")
    server = servers[FLAVOURS[name].server]
    server.forget()
    made = Account(name, server, config, FLAVOURS[name].secret, "sandbox-refresh")
    yield made
    server.forget()


@dataclass(frozen=True)
class Report:
    """What the command has said."""

    code: int
    shown: str
    checks: dict[str, dict[str, str]]

    @property
    def red(self) -> set[str]:
        return {name for name, one in self.checks.items() if one["state"] == "red"}


@pytest.fixture
def connect(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Report]:
    """Runs `crossdock connect` on an account, and holds what holds for every fault."""

    def run(account: Account, *words: str) -> Report:
        monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path / "run"))
        monkeypatch.delenv("AIRFLOW_CONN_CROSSDOCK", raising=False)
        monkeypatch.setenv(account.variable, account.connection())
        monkeypatch.setattr(sys, "argv", ["crossdock", "connect", account.flavour.system, "--json", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown, wrong = capfd.readouterr()
        assert account.secret not in shown + wrong
        assert account.refresh not in shown + wrong
        (report,) = json.loads(shown)
        assert "Traceback" not in wrong
        names = [one["name"] for one in report["checks"]]
        assert len(names) == len(set(names))
        return Report(int(ended.value.code or 0), shown, {one["name"]: one for one in report["checks"]})

    return run


def sent(account: Account) -> set[str]:
    """The requests that the account has had, but for reads, tokens and the mark of order 0, which is none."""
    mark = account.flavour.lists.get("mark", "")
    return {
        f"{one.method} {one.path}"
        for one in account.server.requests
        if one.method != "GET"
        and (one.method, one.path) != ("POST", account.flavour.token)
        and not (one.method == "POST" and re.fullmatch(mark, one.path))
    }


# ---- nothing is wrong ----


@pytest.mark.parametrize("account", EACH, indirect=True)
def test_a_right_account_has_no_red_check(account: Account, connect: Callable[..., Report]) -> None:
    account.url = f"{account.server.url}/"
    found = connect(account)
    assert {name: one["found"] for name, one in found.checks.items() if one["state"] == "red"} == {}
    assert found.code == 0
    assert sent(account) == set()


# ---- the faults ----

Plant = Callable[[Account], None]


@dataclass(frozen=True)
class Fault:
    """One fault as one server shows it. `red`: the only check that is red; `words`: what stands in its sentences."""

    name: str
    flavours: tuple[str, ...]
    plant: Plant
    red: str | dict[str, str]
    words: tuple[str, ...]


def answers(reply: Reply, path: Callable[[Account], str] | None = None, method: str = "") -> Plant:
    """The token, or another path, is answered so."""

    def plant(account: Account) -> None:
        where = path(account) if path else account.flavour.token or account.flavour.every_list
        account.server.tamper(where, reply, method)

    return plant


def of_list(*names: str) -> Callable[[Account], str]:
    """The path of the first of these lists that the flavour has."""
    return lambda account: next(account.flavour.lists[name] for name in names if name in account.flavour.lists)


USUAL = of_list("inventory", "customers")


def everything(account: Account) -> str:
    return account.flavour.every_list


def with_secret(secret: str) -> Plant:
    def plant(account: Account) -> None:
        account.secret = secret

    return plant


def both(*plants: Plant) -> Plant:
    def plant(account: Account) -> None:
        for one in plants:
            one(account)

    return plant


def with_refresh(token: str) -> Plant:
    def plant(account: Account) -> None:
        account.refresh = token

    return plant


def silent(account: Account) -> None:
    """The token does not tell its scopes, nor its profiles."""
    account.server.tamper("/oauth2/identity", Reply(404, b"{}"))
    account.server.tamper("/oauth2/token", changed(lambda body: {k: v for k, v in body.items() if k != "scope"}))


def echo(account: Account) -> None:
    """A refusal that repeats what was sent."""
    text = {"error": {"code": "invalid_client", "message": f"{account.secret} is not the secret"}}
    account.server.tamper("/oauth2/token", ok(text, 400))


def echo_in_a_page(account: Account) -> None:
    secrets = f"{account.secret} {account.refresh if account.flavour.system == CHANNEL else ''}"
    title = f"<html><title>no {secrets}</title></html>".encode()
    account.server.tamper(account.flavour.token or account.flavour.every_list, Reply(200, title, kind="text/html"))


NO_LOGIN = ("The login", "or its secret is wrong", "login and password of AIRFLOW_CONN_")
SECRETS = (
    Fault("its own refusal", ("facade", "v1", "tims"), with_secret("not-the-secret"), "credentials", NO_LOGIN),
    Fault("its own refusal, in each request", ("legacy",), with_secret("not-the-secret"), "credentials",
          ("The login crossdock or its password is wrong (401)", "administrator of TIMS", "login and password of")),
    Fault("401 without a body", ("facade", "v1", "tims"), answers(Reply(401)), "credentials", NO_LOGIN),
    Fault("401 as of each request", ("facade", "v1", "tims"), answers(ok(DENIED, 401)), "credentials", NO_LOGIN),
    Fault("403", ("facade", "v1", "tims"), answers(ok({"error": "invalid_client"}, 403)), "credentials", NO_LOGIN),
    Fault("403 of a gateway", ("facade", "v1", "tims"), answers(Reply(403)), "credentials", ("is refused (403)",)),
    Fault("403 in each request", ("legacy",), answers(ok({"error": {"no": 1101}}, 403)), "credentials",
          ("is wrong (403)", "administrator of TIMS")),
    Fault("the shape of OData, with the secret in it", ("facade", "v1", "tims"), echo, "credentials", NO_LOGIN),
    Fault("400 in plain text", BOTH, answers(Reply(400, b"Bad Request", kind="text/plain")), "credentials",
          ("refused without a reason (400", "shared secret", "developer console")),
    Fault("200 and an error", ("facade", "v1", "tims"), answers(ok({"error": "invalid_client"})), "credentials",
          NO_LOGIN),
    Fault("a login that is known and blocked", ("facade", "v1", "tims"),
          answers(ok({"error": "unauthorized_client"}, 400)), "credentials", ("is known, and is refused",)),
)  # fmt: skip
OLD = ("The refresh token is not accepted", "3 months without use", "--browser", "refresh_token in the extra of")
REFRESH = tuple(
    Fault(name, BOTH, answers(reply), "refresh_token", OLD)
    for name, reply in {
        "400": ok({"error": "invalid_grant"}, 400),
        "401": ok({"error": "invalid_grant"}, 401),
        "403": ok({"error": "invalid_grant", "error_description": "expired"}, 403),
        "200": ok({"error": "invalid_grant"}),
        "the shape of OData": ok({"error": {"code": "invalid_grant", "message": ""}}, 400),
        "words": ok({"Message": "The refresh token has expired."}, 400),
        "words with 401": ok({"error": {"code": "", "message": "Refresh token revoked."}}, 401),
        "plain text": Reply(400, b"invalid_grant", kind="text/plain"),
    }.items()
)


def rotating(account: Account) -> None:
    """Each refresh token is good for one use, and another comes with the answer."""
    first = changed(lambda body: body | {"refresh_token": "the-next-one"})
    account.server.tamper("/oauth2/token", first, times=1)
    account.server.tamper("/oauth2/token", ok({"error": "invalid_grant"}, 400))


REFRESH += (
    Fault("rotation", BOTH, rotating, "refresh_token", ("replaced by another (rotation)", "rotation switched off")),
)
CHANNEL_PROFILE = ("The connection names profile 99", str(PROFILE), "profile_id in the extra of")


def profile(number: Any) -> Plant:
    def plant(account: Account) -> None:
        account.extra["profile_id"] = number

    return plant


def strict(status: int) -> Plant:
    """A request that names a profile which the authorisation does not cover is refused."""

    def plant(account: Account) -> None:
        def answer(request: Request, forward: Callable[[], Reply]) -> Reply:
            named = json.dumps(request.query)
            refused = "ProfileID eq 99" in named or '"profileId": ["99"]' in named
            return ok({"error": {"code": "", "message": "No such profile."}}, status) if refused else forward()

        account.server.tamper("/v[12]/.*", answer)

    return plant


def refused(path: Callable[[Account], str], reply: Reply, method: str = "") -> Plant:
    return answers(reply, path, method)


def inventory(account: Account) -> str:
    return {"facade": "/v2/(?!orders|shipping|returns|sites).*",
            "v1": "/v1/(Products|DistributionCenters).*"}[account.name]  # fmt: skip


def reader(account: Account) -> None:
    account.login, account.secret = "crossdock-reader", "sandbox-secret-reader"


LACKS = ("lacks the scope inventory", "Catalogue", "Authorise the application anew", "refresh_token in the extra of")
FEW = ("may not read gl/accounts", "Ledger", "administrator of TIMS", "the client ")
SCOPES = (
    Fault("told by the token", BOTH, with_refresh("sandbox-refresh-orders"), "scopes", LACKS),
    Fault("not told", BOTH, both(silent, with_refresh("sandbox-refresh-orders")), "scopes", LACKS),
    *(
        Fault(f"not told, {name}", BOTH, both(silent, refused(inventory, reply)), "scopes", LACKS)
        for name, reply in {
            "401 without a body": Reply(401), "403 of OData": ok({"error": {"code": "Forbidden", "message": ""}}, 403),
            "200 and a refusal": ok(DENIED),
        }.items()
    ),
    Fault("told by the token of TIMS", ("tims",), reader, "scopes",
          ("lacks the scope", "gl.read", "administrator of TIMS", "the client crossdock-reader")),
    *(
        Fault(f"told, and refused all the same, {name}", BOTH, refused(inventory, reply), "scopes",
              (*LACKS[:1], "although it names it", *LACKS[1:]))
        for name, reply in {"403": ok(DENIED, 403), "200 and a refusal": ok(DENIED)}.items()
    ),
    Fault("told by TIMS, and refused all the same", ("tims",),
          refused(of_list("gl/accounts"), ok({"code": "FORBIDDEN"}, 403)), "scopes", FEW),
    Fault("not told by TIMS", ("tims",), both(silent, refused(of_list("gl/accounts"), ok({"code": "FORBIDDEN"}, 403))),
          "scopes", FEW),
    Fault("not told by the older TIMS", ("legacy",), refused(of_list("gl/accounts"), ok({"error": {"no": 1}}, 403)),
          "scopes", FEW),
)  # fmt: skip
PROFILES = (
    Fault("empty lists", BOTH, profile(99), "profiles", CHANNEL_PROFILE),
    Fault("a list of profiles", BOTH, profile([PROFILE, 99]), "profiles", CHANNEL_PROFILE),
    Fault("the token does not tell them", BOTH, both(silent, profile(99)), "profiles", CHANNEL_PROFILE),
    *(
        Fault(f"{status} for each request", BOTH, both(strict(status), profile(99)), "profiles", CHANNEL_PROFILE)
        for status in (400, 401, 403)
    ),
    Fault("not told, and 403", BOTH, both(silent, strict(403), profile(99)), "profiles", CHANNEL_PROFILE),
    Fault("several, and none chosen", BOTH, with_refresh("sandbox-refresh-two-profiles"), "profiles",
          ("covers several profiles", "none is chosen", "--profile")),
)  # fmt: skip


def clock(minutes: int, *, api_only: bool = False) -> Plant:
    def plant(account: Account) -> None:
        def every(reply: Reply) -> Reply:
            reply.headers = reply.headers | {
                "Date": format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
            }
            return reply

        if api_only:
            account.server.tamper(account.flavour.every_list, lambda _, forward: every(forward()))
        else:
            account.server.every = every

    return plant


def without_date(account: Account) -> None:
    def every(reply: Reply) -> Reply:
        return Reply(reply.status, reply.body, {k: v for k, v in reply.headers.items() if k != "Date"}, reply.kind,
                     no_date=True)  # fmt: skip

    account.server.every = every


def own_clock(minutes: int) -> Plant:
    """Lists tell a time that is off; no Date."""
    names = {"facade": "serverTime", "tims": "ServerTime", "legacy": "at"}

    def plant(account: Account) -> None:
        without_date(account)
        name = names[account.name]
        form = "%Y-%m-%d %H:%M:%S" if account.name == "legacy" else "%Y-%m-%dT%H:%M:%SZ"

        def change(body: Any) -> Any:
            if isinstance(body, dict) and name in body:
                body[name] = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime(form)
            return body

        account.server.tamper(account.flavour.every_list, changed(change), "GET")

    return plant


OFF = ("Its clock is 7 minutes", "time synchronisation", "this machine, or ")
CLOCKS = (
    *(Fault(f"{minutes} minutes", EACH, clock(minutes), "clock", OFF) for minutes in (7, -7)),
    *(Fault(f"{minutes} minutes, of lists", EACH, clock(minutes, api_only=True), "clock", OFF) for minutes in (7, -7)),
    *(Fault(f"{minutes} minutes, without a Date", ("facade", "tims", "legacy"), own_clock(minutes), "clock", OFF)
      for minutes in (7, -7)),
    Fault("no Date where nothing else tells the time", ("v1",), without_date, "clock", ("have no Date", "proxy")),
)  # fmt: skip
PAGE = ("is answered with a web page", "not with JSON", "in a browser", "host in AIRFLOW_CONN_")
PAGES = (
    *(
        Fault(f"{title}, for the token", ("facade", "v1", "tims"), answers(Reply(status, body, kind=kind)),
              "credentials", (*PAGE, title, "/oauth2/token"))
        for title, status, body, kind in (
            ("Sign in", 200, LOGIN_PAGE, "text/html; charset=utf-8"),
            ("Down for maintenance", 200, BUSY_PAGE, "text/html"),
            ("Down for maintenance", 503, BUSY_PAGE, "text/html"), ("Sign in", 403, LOGIN_PAGE, "application/json"),
        )
    ),
    *(
        Fault(f"{title}, for a list", EACH, answers(Reply(status, body, kind="text/html"), USUAL),
              {"facade": "resource:inventory", "v1": "resource:inventory", "tims": "resource:customers",
               "legacy": "resource:customers"}, (*PAGE, title))
        for title, status, body in (("Sign in", 200, LOGIN_PAGE), ("Down for maintenance", 503, BUSY_PAGE))
    ),
    Fault("for all lists", EACH, answers(Reply(200, LOGIN_PAGE, kind="text/html"), everything),
          {"facade": "api", "v1": "api", "tims": "resources", "legacy": "resources"}, (*PAGE, "Sign in")),
    Fault("with secrets in its title", EACH, echo_in_a_page,
          {"facade": "credentials", "v1": "credentials", "tims": "credentials", "legacy": "resources"}, PAGE),
)  # fmt: skip
GONE = ("does not exist (404)", "ask the operator of", "host in AIRFLOW_CONN_")
MISSING = (
    *(
        Fault(f"{name}, {kind}", EACH, answers(reply, of_list(*lists)),
              {each: f"resource:{next(one for one in lists if one in FLAVOURS[each].lists)}" for each in EACH}, GONE)
        for kind, reply in (("JSON", ok({"Message": "No HTTP resource was found."}, 404)), ("bare", Reply(404)),
                            ("a page", Reply(404, b"<html><title>Not found</title></html>", kind="text/html")))
        for name, lists in (("one", ("returns", "shipping", "ar/payments")), ("one that others build on",
                            ("inventory", "gl/accounts")), ("the first that is asked for", ("sites", "company")))
    ),
    *(
        Fault(f"{name}, of which returns are made", ("v1",), answers(Reply(404), of_list(name)), "resource:returns",
              GONE)
        for name in ("adjustments", "adjustments of orders")
    ),
)  # fmt: skip


def without_account(account: Account) -> None:
    """The chart lacks 6120."""
    rows = account.flavour.rows

    def change(body: Any) -> Any:
        body[rows] = [row for row in body[rows] if "6120" not in map(str, row.values())]
        return body

    account.server.tamper(account.of("gl/accounts"), changed(change))


def other_account(account: Account) -> None:
    """accounts.yaml names a code that the chart does not have."""
    file = account.config / "accounts.yaml"
    file.write_text(file.read_text().replace("Advertising: 6120", "Advertising: 6129"))


LACKING = ("TIMS's chart of accounts lacks", "(Advertising, line ", "have the account set up", "accounts.yaml")
ACCOUNTS = (
    Fault("not in the chart", ("tims", "legacy"), without_account, "accounts", (*LACKING, "6120")),
    Fault("wrong in accounts.yaml", ("tims", "legacy"), other_account, "accounts", (*LACKING, "6129")),
)


def sold_on(site: int, name: str, *, at: int) -> Plant:
    """One order was sold on another site."""

    def plant(account: Account) -> None:
        def change(body: Any) -> Any:
            if body.get("value"):
                body["value"][at] |= {"SiteID": site, "SiteName": name}
            return body

        account.server.tamper(account.of("orders"), changed(change))

    return plant


SITES = tuple(
    Fault(f"of order {at}", BOTH, sold_on(99912, "Bazaar", at=at), "sites",
          ("sites.yaml does not know the site", "99912 Bazaar", "under `sites`", "sites.yaml"))
    for at in (0, -1)
)  # fmt: skip
NO_MARK = ("may read orders, and not mark or change them", "`orders`, not `orders.readonly`", "refresh_token in the")
NOT_SENT = {"401": Reply(401), "403": ok(DENIED, 403), "200 and a refusal": ok(DENIED),
            "200 and OData's refusal": ok({"error": {"code": "", "message": "Denied."}}),
            "200 and a refusal in plain text": Reply(
                200, b"Authorization has been denied for this request.", kind="text/plain")}  # fmt: skip
EXPORT = (
    Fault("told by the token", BOTH, with_refresh("sandbox-refresh-readonly"), "export", NO_MARK),
    Fault("not told", BOTH, both(silent, with_refresh("sandbox-refresh-readonly")), "export", NO_MARK),
    *(
        Fault(f"{name}, {spoken}", BOTH, both(*plants, answers(reply, of_list("mark"), method)), "export", NO_MARK)
        for name, reply in NOT_SENT.items()
        for spoken, plants, method in (("not told", (silent,), ""), ("although the scopes are there", (), "POST"))
    ),
    Fault("closed to whoever reads it, too", BOTH, answers(Reply(403), of_list("mark")), "export", NO_MARK),
)  # fmt: skip
TO = {"Location": "https://sso.example/login?ticket=hidden"}
GARBLED = {"Content-Encoding": "gzip"}
REDIRECT = ("is answered with a redirect (302) to https://sso.example/login.", "in a browser")
ONE = {"facade": "resource:inventory", "v1": "resource:inventory", "tims": "resource:customers",
       "legacy": "resource:customers"}  # fmt: skip


def impatient(account: Account) -> None:
    account.extra["read_seconds"] = 0.3


OTHERS = (
    Fault("a slow token", ("facade", "v1", "tims"), both(impatient, answers(Reply(wait=0.6))), "credentials",
          ("did not finish its answer to POST /oauth2/token in time", "read_seconds")),
    Fault("a slow server", EACH, both(impatient, answers(Reply(wait=0.6), everything)),
          {"facade": "api", "v1": "api", "tims": "resources", "legacy": "resources"}, ("in time",)),
    Fault("a redirect of the token", ("facade", "v1", "tims"), answers(Reply(302, headers=TO)), "credentials",
          REDIRECT),
    Fault("a redirect of a list", EACH, answers(Reply(302, headers=TO), USUAL), ONE, REDIRECT),
    Fault("a redirect of all lists", EACH, answers(Reply(302, b"<html>Moved</html>", TO, "text/html"), everything),
          {"facade": "api", "v1": "api", "tims": "resources", "legacy": "resources"}, REDIRECT),
    Fault("an empty token", ("facade", "v1", "tims"), answers(Reply(200)), "credentials", ("with nothing (200",)),
    Fault("a token of another kind", ("facade", "v1", "tims"), answers(ok({"token": "x"})), "credentials",
          ("no access_token",)),
    Fault("an empty list", EACH, answers(Reply(200), USUAL), ONE, ("with nothing (200",)),
    Fault("a list in plain text", EACH, answers(Reply(200, b"ok", kind="text/plain"), USUAL),
          ONE, ("is answered with 200 and plain text, not with JSON",)),
    Fault("a token that fails", ("facade", "v1", "tims"), answers(ok({"error": "server_error"}, 500)), "credentials",
          ("fails at the other side (500)", "Try again")),
    Fault("garbage in the place of gzip", EACH, answers(Reply(200, b"no gzip", GARBLED), USUAL),
          ONE, ("cannot be decompressed",)),
    Fault("half a gzip", EACH, answers(Reply(200, gzip.compress(b"[1]")[:-9], GARBLED), USUAL),
          ONE, ("answered",)),
    Fault("a list that hangs up", EACH, answers(Reply(no_answer=True), USUAL), ONE,
          ("cut the connection",)),
    Fault("a token that hangs up", ("facade", "v1", "tims"), answers(Reply(no_answer=True)), "credentials",
          ("cut the connection",)),
    Fault("a server that hangs up", EACH, answers(Reply(no_answer=True), lambda _: ".*"), "connection",
          ("cut the connection during GET /.", "host in AIRFLOW_CONN_")),
)  # fmt: skip
FAULTS = {
    "secret": SECRETS, "refresh token": REFRESH, "scope": SCOPES, "profile": PROFILES, "clock": CLOCKS, "page": PAGES,
    "404": MISSING, "account": ACCOUNTS, "site": SITES, "export": EXPORT, "other": OTHERS,
}  # fmt: skip


SHARED = ("clock", "page", "404", "other")  # kinds of which two flavours each are enough, in turn


def _flavours(kind: str, number: int, fault: Fault) -> tuple[str, ...]:
    """The first of a kind for each flavour. Of the others half: what they try is one way for all."""
    half = ("facade", "legacy") if number % 2 else ("v1", "tims")
    some = tuple(each for each in fault.flavours if each in half)
    return some if kind in SHARED and number and some else fault.flavours


@pytest.mark.parametrize(
    ("account", "fault"),
    [
        pytest.param(flavour, fault, id=f"{kind}: {fault.name}-{flavour}")
        for kind, faults in FAULTS.items()
        for number, fault in enumerate(faults)
        for flavour in _flavours(kind, number, fault)
    ],
    indirect=["account"],
)
def test_a_fault_is_the_one_red_check_and_says_what_to_do(
    account: Account, fault: Fault, connect: Callable[..., Report]
) -> None:
    fault.plant(account)
    found = connect(account)
    expected = fault.red if isinstance(fault.red, str) else fault.red[account.name]
    sentences = {name: one["found"] for name, one in found.checks.items() if one["state"] == "red"}
    assert set(sentences) == {expected}, sentences
    one = found.checks[expected]
    text = " ".join((one["found"], one["means"], one["do"], one["where"]))
    for word in fault.words:
        assert word in text
    assert all((one["means"], one["do"], one["where"]))
    assert "hidden" not in found.shown
    assert found.code == 1
    assert sent(account) == set()
