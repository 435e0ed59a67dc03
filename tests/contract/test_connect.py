"""`crossdock connect` against real servers: all is right, and each of the faults that a connection can have."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import shlex
import shutil
import socketserver
import ssl
import stat
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from contract.certificates import Certificates
from contract.misbehaving import Reply, Server, ok
from crossdock import cli, settings
from crossdock.cli.connect import leave
from crossdock.errors import AuthError, ConfigError
from crossdock.services import connect
from crossdock.services.connect import Check
from crossdock.services.connect.lists import Lists, resources
from crossdock.systems import limits
from crossdock.systems.authorize import Consent
from crossdock.systems.channel_advisor import Abilities, Facade
from crossdock.systems.connections import THIS_MACHINE_ONLY, Connection, parse
from crossdock.systems.paging import Page, Unmade
from crossdock.systems.probe import Probe
from sandbox import world as worlds
from sandbox.control import SYSTEMS, Control
from sandbox_servers import serving

PLENTY = 1_000_000
CHANNEL, TIMS = SYSTEMS
READS = ("GET ", "POST /oauth2/token")
MARK = {"POST /v2/orders/{ChannelAdvisorOrderID}/exported", "POST /v1/Orders(id)/Export"}  # of order 0, which is none


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Control]]:
    """Both servers, with the reference data and the first day."""
    world, found = worlds.load(), {}
    end = world.first + timedelta(days=1)
    with ExitStack() as stack:
        for system in SYSTEMS:
            line = stack.enter_context(serving(system, tmp_path_factory.mktemp(system), PLENTY))
            found[system] = Control(system, next(word.rstrip(",") for word in line.split() if word.startswith("http:")))
            found[system].set_clock(world.start)
            events = [*world.reference_events(), *world.events(world.start, end)]
            found[system].apply(event.as_dict() for event in events if event.system == system)
            found[system].set_clock(end)
        yield found


@pytest.fixture(autouse=True)
def config(tmp_path: Path, controls: dict[str, Control]) -> Iterator[Path]:
    """A configuration that knows all sites of the sandbox; and servers without faults."""
    folder = shutil.copytree(settings.PROJECT / "include" / "config", tmp_path / "config")
    sites = folder / "sites.yaml"
    sites.write_text(sites.read_text() + '  955:\n    channel: Fruugo\n    country: "GB"\n')
    for control in controls.values():
        control.call("DELETE", "faults")
        control.call("DELETE", "requests")
    with settings.using(folder):
        yield folder


def connection(controls: dict[str, Control], system: str = CHANNEL, **other: Any) -> Connection:
    given = {"login": "crossdock-sandbox", "secret": "sandbox-secret"} | other
    extra = given.pop("extra", {}) | {"refresh_token": given.pop("refresh", "sandbox-refresh")}
    return Connection(system, given.pop("url", None) or controls[system].url, extra=extra, **given)


def tried(given: Connection) -> dict[str, Check]:
    return {one.name: one for one in connect.check(given)}


def red(checks: dict[str, Check]) -> set[str]:
    return {name for name, one in checks.items() if one.state == "red"}


def fault(control: Control, kind: str, path: str = "*", **options: Any) -> None:
    control.call("POST", "faults", {"kind": kind, "path": path, **options})


def digest(control: Control) -> str:
    """All that a system holds, but for tokens."""
    kinds = [kind for kind in control.call("GET", "counts") if not kind.startswith("_")]
    held = {kind: control.documents(kind) for kind in sorted(kinds)}
    return hashlib.sha256(json.dumps(held, default=str, sort_keys=True).encode()).hexdigest()


# ---- all is right ----


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_right_connection_has_no_red_check_and_nothing_is_changed(system: str, controls: dict[str, Control]) -> None:
    control = controls[system]
    before = digest(control)
    checks = tried(connection(controls, system))
    assert {name: one.found for name, one in checks.items() if one.state != "ok"} == {}
    assert digest(control) == before
    sent = control.call("GET", "requests")
    assert {each for each in sent if not each.startswith(READS)} <= MARK


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_list_that_a_flow_reads_is_tried(system: str, controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, system))
    lists = {name.partition(":")[2] for name in checks if name.startswith("resource:")}
    assert lists == set(connect.read_by_flows(system, Abilities()))
    asked_for = {
        each.removeprefix("GET ") for each in controls[system].call("GET", "requests") if each.startswith("GET ")
    }
    below = "/v2/" if system == CHANNEL else "/api/v1/"
    assert {below + path for path in lists} <= asked_for


# ---- the twelve faults ----


def test_a_wrong_secret_is_found(controls: dict[str, Control]) -> None:
    for system, finder in ((CHANNEL, "developer console"), (TIMS, "administrator of TIMS")):
        checks = tried(connection(controls, system, secret="wrong"))
        assert red(checks) == {"credentials"}
        one = checks["credentials"]
        assert one.found == "The login crossdock-sandbox or its secret is wrong (invalid_client)."
        assert finder in one.do
        assert one.where == f"login and password of AIRFLOW_CONN_{system.upper()}"
        assert checks["resources"].state == "skipped"


def test_an_expired_refresh_token_is_found_and_not_taken_for_a_wrong_secret(controls: dict[str, Control]) -> None:
    fault(controls[CHANNEL], "grant_expired")
    checks = tried(connection(controls))
    assert red(checks) == {"refresh_token"}
    assert checks["credentials"].state == "ok"
    one = checks["refresh_token"]
    assert one.found == "The refresh token is not accepted (invalid_grant)."
    assert "3 months without use" in one.means
    assert "--browser" in one.do
    assert one.where == "refresh_token in the extra of AIRFLOW_CONN_CHANNEL_ADVISOR"


def test_a_refusal_in_plain_text_names_all_that_may_be_wrong(controls: dict[str, Control]) -> None:
    fault(controls[CHANNEL], "token_plain_400")
    one = tried(connection(controls))["credentials"]
    assert one.found == "The token is refused without a reason (400 and plain text)."
    assert one.means.startswith("The application id, its shared secret or the refresh token is wrong")


def test_a_missing_scope_is_found_with_the_flows_that_need_it(controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, refresh="sandbox-refresh-orders"))
    assert red(checks) == {"scopes"}
    one = checks["scopes"]
    assert one.found == "The token lacks the scope inventory."
    assert "Catalogue" in one.means
    assert "Orders" not in one.means
    assert "scopes `inventory orders`" in one.do
    assert checks["resource:products"].state == "skipped"
    assert checks["resource:orders"].state == "ok"


def test_missing_scopes_of_tims_are_found(controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, TIMS, login="crossdock-reader", secret="sandbox-secret-reader"))
    assert red(checks) == {"scopes"}
    one = checks["scopes"]
    assert one.found == (
        "The login lacks the scope ar.write, customers.write, gl.read, gl.write, inventory.write, orders.write, "
        "shipments.write."
    )
    assert "the client crossdock-reader in TIMS" in one.where
    assert checks["accounts"].state == checks["resource:gl/accounts"].state == "skipped"


def test_a_wrong_profile_is_found_and_the_right_ones_are_named(controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, extra={"profile_id": 99}))
    assert red(checks) == {"profiles"}
    one = checks["profiles"]
    assert one.found == "The connection names profile 99; the authorisation covers 12345678."
    assert one.where == "profile_id in the extra of AIRFLOW_CONN_CHANNEL_ADVISOR"
    assert tried(connection(controls, extra={"profile_id": 12345678}))["profiles"].state == "ok"
    assert "no number" in tried(connection(controls, extra={"profile_id": "x"}))["settings"].found


@pytest.mark.parametrize(("minutes", "words"), [(7, "7 minutes ahead of"), (-7, "7 minutes behind")])
def test_a_clock_that_is_seven_minutes_off_is_found(minutes: int, words: str, controls: dict[str, Control]) -> None:
    for system in SYSTEMS:
        fault(controls[system], "clock_off", minutes=minutes)
        checks = tried(connection(controls, system))
        assert red(checks) == {"clock"}
        assert checks["clock"].found == f"Its clock is {words} ours."
        assert "time synchronisation" in checks["clock"].do


def test_a_web_page_in_the_place_of_an_answer_is_found(controls: dict[str, Control]) -> None:
    fault(controls[CHANNEL], "web_page", "/v2/orders")
    checks = tried(connection(controls))
    assert red(checks) == {"resource:orders"}
    one = checks["resource:orders"]
    assert one.found == '/v2/orders is answered with a web page "Sign in" (HTML, status 200), not with JSON.'
    assert "a login page, a gateway" in one.means
    assert one.do.startswith(f"Open {controls[CHANNEL].url}/v2/orders in a browser")


def test_a_web_page_in_the_place_of_the_token_and_of_a_failing_gateway_is_found(controls: dict[str, Control]) -> None:
    fault(controls[TIMS], "web_page", "createToken", status=403)
    assert "(HTML, status 403)" in tried(connection(controls, TIMS))["credentials"].found
    controls[TIMS].call("DELETE", "faults")
    fault(controls[TIMS], "bad_gateway_html", "/api/v1/shipments")
    checks = tried(connection(controls, TIMS))
    assert red(checks) == {"resource:shipments"}
    assert '"502 Bad Gateway" (HTML, status 502)' in checks["resource:shipments"].found


def test_a_list_that_does_not_exist_is_found(controls: dict[str, Control]) -> None:
    fault(controls[CHANNEL], "not_found", "/v2/returns")
    fault(controls[TIMS], "not_found", "/api/v1/ar/payments")
    checks = tried(connection(controls))
    assert red(checks) == {"resource:returns"}
    assert checks["resource:returns"].found == "GET /v2/returns does not exist (404)."
    assert checks["resource:returns"].means == "These flows read it: Returns."
    checks = tried(connection(controls, TIMS))
    assert red(checks) == {"resource:ar/payments"}
    assert "include/config/tims.yaml" in checks["resource:ar/payments"].do


def test_a_missing_account_code_is_found_with_its_line(controls: dict[str, Control], config: Path) -> None:
    file = config / "accounts.yaml"
    text = file.read_text().replace("Advertising: 6120", "Advertising: 6129")
    file.write_text(text)
    line = 1 + text.splitlines().index("Advertising: 6129")
    checks = tried(connection(controls, TIMS))
    assert red(checks) == {"accounts"}
    one = checks["accounts"]
    assert one.found == f"TIMS's chart of accounts lacks 6129 (Advertising, line {line})."
    assert one.means == "The ledger stops before it posts anything."
    assert one.where == str(file)


def test_a_site_that_nobody_named_is_found(controls: dict[str, Control]) -> None:
    with settings.using(settings.PROJECT / "include" / "config"):
        checks = tried(connection(controls))
        assert red(checks) == {"sites"}
        one = checks["sites"]
        assert one.found == "sites.yaml does not know the site 955 Fruugo."
        assert "taken in with the defaults" in one.means
        assert one.where.endswith("sites.yaml")


def test_a_site_is_found_also_where_none_of_its_orders_can_be_taken(controls: dict[str, Control]) -> None:
    """As by the API v1, where an order with tax of a site that nobody named becomes no document."""
    lost = Unmade("7", b'{"SiteID":99912,"SiteName":"New"}', "SiteID", "remitter_unknown", "Nobody has said.", "Say.")
    with (
        Facade(connection(controls)) as client,
        Probe(client.connection, client.limits) as probe,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(client, "pages", lambda *_, **__: iter([Page([], datetime.now(UTC), 1, unmade=[lost])]))
        lists = Lists(client, probe, {})
        assert [one["SiteID"] for one in lists.rows_as_received("orders")] == [99912]
        (check,) = resources(lists, {"orders": ["Orders"]}, {"orders"})
        assert check.found == "It can be read; 1 of 1 rows cannot be taken as they are: `crossdock map` says why."


def test_a_login_without_the_right_to_export_is_found(controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, refresh="sandbox-refresh-readonly"))
    assert red(checks) == {"export"}
    one = checks["export"]
    assert one.found.endswith("the token may read orders, and not mark or change them.")
    assert "scope `orders`, not `orders.readonly`" in one.do
    assert {each["ExportedDate"] for each in controls[CHANNEL].documents("order") if "ExportedDate" in each} <= {None}


def test_where_the_token_does_not_tell_its_scopes_the_mark_of_no_order_is_asked_for(
    controls: dict[str, Control],
) -> None:
    fault(controls[CHANNEL], "not_found", "/oauth2/identity")
    before = digest(controls[CHANNEL])
    for refresh, found in (
        ("sandbox-refresh", "it would be set."),
        ("sandbox-refresh-readonly", "the token may read orders, and not mark or change them."),
    ):
        checks = tried(connection(controls, refresh=refresh))
        assert checks["export"].found == f"Asked for the mark of an order that does not exist: {found}"
        assert checks["scopes"].state == "ok"
        assert (red(checks) == set()) == (refresh == "sandbox-refresh")
    assert digest(controls[CHANNEL]) == before
    sent = controls[CHANNEL].call("GET", "requests")
    assert {each for each in sent if not each.startswith(READS)} == {"POST /v2/orders/{ChannelAdvisorOrderID}/exported"}
    assert red(tried(connection(controls, refresh="sandbox-refresh-orders"))) == {"scopes"}
    assert red(tried(v1(controls, refresh="sandbox-refresh-readonly"))) == {"export"}


def test_an_answer_to_the_question_of_the_mark_that_says_neither_is_no_right(controls: dict[str, Control]) -> None:
    fault(controls[CHANNEL], "not_found", "/oauth2/identity")
    fault(controls[CHANNEL], "error_before", "/v2/orders/0/exported")
    assert "failed in POST /v2/orders/0/exported (500)" in tried(connection(controls))["export"].found


# ---- the API v1 ----


def v1(controls: dict[str, Control], **other: Any) -> Connection:
    extra = {"api": "v1"} | other.pop("extra", {})
    return connection(controls, extra=extra, **other)


def test_a_right_account_of_the_api_v1_has_no_red_check_and_nothing_is_changed(
    controls: dict[str, Control],
) -> None:
    before = digest(controls[CHANNEL])
    checks = tried(v1(controls))
    assert {name: one.found for name, one in checks.items() if one.state != "ok"} == {}
    assert digest(controls[CHANNEL]) == before
    assert {each for each in controls[CHANNEL].call("GET", "requests") if not each.startswith(READS)} <= MARK
    assert checks["scopes"].found == "The token has inventory orders."
    assert checks["export"].found == "Asked for the mark of an order that does not exist: it would be set."
    assert "has no listings" in checks["ability:listings"].found
    assert "resource:listings" not in checks
    facts = {one.found for name, one in checks.items() if name.startswith("fact:")}
    assert "Orders can be asked for by their exported mark." in facts


def test_what_an_account_of_the_api_v1_lacks_is_read_from_its_token(controls: dict[str, Control]) -> None:
    checks = tried(v1(controls, refresh="sandbox-refresh-orders"))
    assert red(checks) == {"scopes"}
    assert checks["scopes"].found == "The token lacks the scope inventory."
    checks = tried(v1(controls, refresh="sandbox-refresh-readonly"))
    assert red(checks) == {"export"}
    assert checks["export"].found == (
        "The token's scopes are inventory.readonly orders.readonly: the token may read orders, and not mark or change "
        "them."
    )
    assert {each for each in controls[CHANNEL].call("GET", "requests") if not each.startswith(READS)} <= MARK


def test_profiles_of_the_api_v1_are_those_of_the_authorisation(controls: dict[str, Control]) -> None:
    one = tried(v1(controls, extra={"profile_id": 99}))["profiles"]
    assert one.found == "The connection names profile 99; the authorisation covers 12345678 Sandbox 12345678."
    two = tried(v1(controls, refresh="sandbox-refresh-two-profiles"))["profiles"]
    assert two.found == (
        "The authorisation covers several profiles (12345678 Sandbox 12345678, 12345679 Sandbox 12345679), and none is "
        "chosen."
    )
    chosen = v1(controls, refresh="sandbox-refresh-two-profiles", extra={"profile_id": 12345679})
    assert tried(chosen)["profiles"].state == "ok"


def test_faults_of_the_api_v1_are_found_two_at_once(controls: dict[str, Control]) -> None:
    fault(controls[CHANNEL], "clock_off", minutes=7)
    fault(controls[CHANNEL], "web_page", "/v1/Fulfillments")
    fault(controls[CHANNEL], "not_found", "/v1/DistributionCenters")
    checks = tried(v1(controls))
    assert red(checks) == {"clock", "resource:shipping", "resource:distribution-centers"}
    assert checks["resource:shipping"].found.startswith('/v1/Fulfillments is answered with a web page "Sign in"')
    assert checks["resource:distribution-centers"].found == "GET /v1/DistributionCenters does not exist (404)."
    controls[CHANNEL].call("DELETE", "faults")
    fault(controls[CHANNEL], "grant_expired")
    assert red(tried(v1(controls))) == {"refresh_token"}
    assert red(tried(v1(controls, secret="wrong"))) & {"credentials", "refresh_token"}


# ---- the way ----


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def secure_server(certificate: Path) -> Iterator[tuple[str, list[str]]]:
    """A server with TLS; its address, and the requests that got through."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.command} {self.path}")
            self.send_response(404)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("name", "days", "signed", "found", "do"),
    [
        ("localhost", (-1, 30), False, "self-signed certificate", "name the file as ca_bundle"),
        ("localhost", (-30, -2), True, "certificate has expired", "Have its operator renew it"),
        ("other.test", (-1, 30), True, "Hostname mismatch", "Write the host as the certificate names it"),
        ("localhost", (3, 30), True, "certificate is not yet valid", "Correct the clock of this machine"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_is_found_and_no_secret_is_sent(
    name: str, days: tuple[int, int], signed: bool, found: str, do: str, certificates: Certificates,
    controls: dict[str, Control],
) -> None:  # fmt: skip
    with secure_server(certificates.of(name, *days, signed=signed)) as (url, seen):
        checks = tried(connection(controls, url=url, extra={"ca_bundle": str(certificates.bundle)}))
        assert red(checks) == {"tls"}
        assert found in checks["tls"].found
        assert do in checks["tls"].do
        assert checks["credentials"].state == "skipped"
        assert seen == []


def test_a_right_certificate_of_a_private_authority_is_trusted(
    certificates: Certificates, controls: dict[str, Control]
) -> None:
    with secure_server(certificates.of("localhost")) as (url, seen):
        checks = tried(connection(controls, url=url, extra={"ca_bundle": str(certificates.bundle)}))
        assert checks["tls"].found == "The certificate is trusted."
        assert red(checks) == {"credentials"}
        assert checks["credentials"].found == "There is no /oauth2/token at this address (404)."
        assert seen == ["GET /", "POST /oauth2/token"]


def test_plain_http_behind_an_https_address_is_found(controls: dict[str, Control]) -> None:
    url = controls[CHANNEL].url.replace("http:", "https:")
    assert "does not speak TLS" in tried(connection(controls, url=url))["tls"].found


def test_an_unknown_name_and_a_port_where_nobody_listens_are_found(controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, url="https://api.channel.invalid"))
    assert red(checks) == {"name"}
    assert checks["name"].found == "The name api.channel.invalid is not known here."
    assert {one.state for name, one in checks.items() if name not in ("settings", "name")} == {"skipped"}
    checks = tried(connection(controls, url="http://127.0.0.1:9"))
    assert red(checks) == {"connection"}
    assert "refuses connections" in checks["connection"].found


def test_a_proxy_that_cannot_be_reached_is_found(controls: dict[str, Control], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hidden@127.0.0.1:9")
    checks = tried(connection(controls, url="https://api.channel.test"))
    assert red(checks) == {"proxy"}
    one = checks["proxy"]
    assert one.found == "The proxy 127.0.0.1:9 cannot be reached."
    assert "NO_PROXY" in one.do
    assert "hidden" not in repr(checks)


@contextmanager
def proxy_that_answers(raw: bytes) -> Iterator[str]:
    """A proxy that answers every CONNECT with these bytes, and then hangs up; its address."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(raw)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


NOTICE = b"<html><title>Access denied by policy</title></html>"


@pytest.mark.parametrize(
    ("raw", "check", "found", "do"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "proxy",
            "wants a login (407)",
            "http://user:password@",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n" + NOTICE,
            "proxy",
            "(it answers 403)",
            "NO_PROXY",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy", "(it answers 502)", "whoever runs the proxy"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + NOTICE, "proxy", "no connection comes about", "whoever runs the proxy"),
        (b"", "proxy", "no connection comes about", "whoever runs the proxy"),
    ],
)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_proxy_that_lets_nothing_through_is_found(
    system: str, raw: bytes, check: str, found: str, do: str, controls: dict[str, Control],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with proxy_that_answers(raw) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@{address}")
        checks = tried(connection(controls, system, url="https://api.system.test"))
        assert red(checks) == {check}
        one = checks[check]
        assert found in one.found
        assert address in one.found
        assert do in one.do
        assert "HTTPS_PROXY" in one.where
        assert "hidden" not in repr(checks)
        assert checks["credentials"].state == "skipped"
        if raw.startswith(b"HTTP/1.1 407"):
            client = Facade(connection(controls, url="https://api.channel.test"))
            with client, pytest.raises(ConfigError, match="wants a login"):
                client.server_time()


def test_an_address_of_a_proxy_that_cannot_be_used_is_found(
    controls: dict[str, Control], monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("socks9://127.0.0.1:9", "http://"):
        monkeypatch.setenv("HTTPS_PROXY", address)
        checks = tried(connection(controls, url="https://api.channel.test"))
        assert red(checks) == {"proxy"}, checks


def test_certificates_that_cannot_be_read_are_found_before_anything_is_sent(
    controls: dict[str, Control], tmp_path: Path
) -> None:
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("no certificate")
    for file, found in ((tmp_path / "not.there", "does not exist"), (no_pem, "cannot be read as certificates")):
        checks = tried(connection(controls, url="https://localhost:9", extra={"ca_bundle": str(file)}))
        assert red(checks) == {"tls"}
        assert found in checks["tls"].found
        assert "ca_bundle" in checks["tls"].where


def test_a_port_that_speaks_something_else_is_found(controls: dict[str, Control]) -> None:
    with proxy_that_answers(b"220 mail.example ESMTP\r\n") as address:
        checks = tried(connection(controls, TIMS, url=f"http://{address}"))
        assert red(checks) == {"connection"}
        assert "it is no HTTP" in checks["connection"].found
    with proxy_that_answers(b"") as address:
        url = f"https://localhost:{address.partition(':')[2]}"
        checks = tried(connection(controls, TIMS, url=url, extra={"connect_seconds": 0.3}))
        assert red(checks) == {"connection"}
        assert "did not take the connection in time" in checks["connection"].found


def test_a_host_with_the_path_of_the_api_is_found_with_the_one_to_write(controls: dict[str, Control]) -> None:
    for path in ("/v1", "/v2", "/oauth2/token"):
        checks = tried(connection(controls, url=f"{controls[CHANNEL].url}{path}"))
        assert red(checks) == {"credentials"}
        one = checks["credentials"]
        assert one.found.startswith("There is no /oauth2/token at this address (")
        assert one.do == f"Take the end {path} off the host, Crossdock adds it itself: {controls[CHANNEL].url}."
    checks = tried(connection(controls, TIMS, url=f"{controls[TIMS].url}/api/v1"))
    assert red(checks) == {"credentials"}
    assert controls[TIMS].url in checks["credentials"].do
    assert "token_path" in checks["credentials"].do


def test_a_slow_system_is_found_without_waiting_for_each_list(controls: dict[str, Control]) -> None:
    fault(controls[TIMS], "slow", "/api/v1/*", seconds=2)
    checks = tried(connection(controls, TIMS, extra={"read_seconds": 0.3}))
    assert red(checks) == {"resources"}
    assert checks["resources"].found.startswith("2 lists were not answered in time")
    assert checks["accounts"].state == "skipped"


# ---- more than one, and others ----


def test_two_faults_at_once_are_both_reported(controls: dict[str, Control], config: Path) -> None:
    fault(controls[CHANNEL], "clock_off", minutes=7)
    fault(controls[CHANNEL], "not_found", "/v2/returns")
    assert red(tried(connection(controls, extra={"profile_id": 7}))) == {"clock", "profiles", "resource:returns"}
    fault(controls[TIMS], "clock_off", minutes=7)
    (config / "accounts.yaml").write_text((config / "accounts.yaml").read_text().replace("FX: 6910", "FX: 6911"))
    assert red(tried(connection(controls, TIMS))) == {"clock", "accounts"}
    assert red(tried(connection(controls, TIMS, secret="wrong"))) == {"clock", "credentials"}


def test_an_authorisation_of_several_profiles_lists_them_until_one_is_chosen(controls: dict[str, Control]) -> None:
    center = controls[CHANNEL].documents("distribution_center")[0] | {"ProfileID": 12345679}
    center |= {"DistributionCenterID": 77, "Code": "SECOND"}
    controls[CHANNEL].apply([{"kind": "distribution_center", "document": center}])
    one = tried(connection(controls, refresh="sandbox-refresh-two-profiles"))["profiles"]
    assert one.state == "red"
    assert one.found == "The authorisation covers several profiles (12345678, 12345679), and none is chosen."
    chosen = connection(controls, refresh="sandbox-refresh-two-profiles", extra={"profile_id": 12345679})
    assert tried(chosen)["profiles"].state == "ok"


def test_a_limit_below_ours_and_too_many_requests_are_found(controls: dict[str, Control], config: Path) -> None:
    text = (config / "systems.yaml").read_text()
    (config / "systems.yaml").write_text(text.replace("requests_per_minute: 600", f"requests_per_minute: {2 * PLENTY}"))
    one = tried(connection(controls, TIMS))["limits"]
    assert one.found.startswith("It allows 1,000,000 requests a minute, and systems.yaml uses 2,000,000")
    fault(controls[CHANNEL], "rate_limited_bare", "/v2/inventory")
    checks = tried(connection(controls))
    assert {"limits", "resource:inventory"} <= red(checks)
    assert "(429)" in checks["limits"].found


def test_a_warehouse_and_a_guest_account_that_tims_does_not_have_are_found(
    controls: dict[str, Control], config: Path
) -> None:
    sites = config / "sites.yaml"
    text = sites.read_text().replace("  location: MAIN", "  location: MIAN")
    sites.write_text(text.replace("  guests: per_order", "  guests: account\n  guest_account: C-404"))
    checks = tried(connection(controls, TIMS))
    assert red(checks) == {"locations", "customers"}
    assert checks["locations"].found == "TIMS holds nothing in MIAN, which sites.yaml names."
    assert checks["customers"].found == "TIMS has no customer C-404, a guest_account of sites.yaml."


def test_what_names_no_api_or_a_wrong_one_is_found(controls: dict[str, Control]) -> None:
    checks = tried(connection(controls, extra={"api": "v3"}))
    assert red(checks) == {"api"}
    assert checks["api"].do == "Choose one of: v2, v1."
    fault(controls[CHANNEL], "not_found", "/v?/*")
    assert red(tried(connection(controls))) == {"api"}
    assert "no refresh token" in tried(connection(controls, refresh=""))["refresh_token"].found


# ---- the command ----


def run(
    words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["crossdock", "connect", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), *capfd.readouterr()


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("AIRFLOW_CONN_CROSSDOCK", raising=False)


def variables(controls: dict[str, Control], monkeypatch: pytest.MonkeyPatch, secret: str = "sandbox-secret") -> None:
    for system in SYSTEMS:
        made = {"conn_type": system, "host": controls[system].url, "login": "crossdock-sandbox", "password": secret,
                "extra": {"refresh_token": "sandbox-refresh"}}  # fmt: skip
        monkeypatch.setenv(f"AIRFLOW_CONN_{system.upper()}", json.dumps(made))


def test_the_command_says_ok_or_red_for_each_check_and_its_exit_code_says_which(
    controls: dict[str, Control], no_database: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    variables(controls, monkeypatch)
    code, shown, _ = run([], monkeypatch, capfd)
    assert code == 0
    assert shown.count("checks are right") == 2
    assert "The result is not kept: there is no database yet" in shown
    variables(controls, monkeypatch, secret="s3cret-of-mine")
    code, shown, wrong = run([TIMS], monkeypatch, capfd)
    assert code == 1
    lines = [line.strip() for line in shown.splitlines()]
    at = lines.index("red     Credentials: The login crossdock-sandbox or its secret is wrong (invalid_client).")
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["means", "do", "where"]
    assert "s3cret" not in shown + wrong
    monkeypatch.delenv("AIRFLOW_CONN_TIMS")
    code, _, wrong = run([TIMS], monkeypatch, capfd)
    assert code == 2
    assert "AIRFLOW_CONN_TIMS is not set" in wrong


def test_the_command_gives_programs_json(
    controls: dict[str, Control], no_database: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    variables(controls, monkeypatch)
    fault(controls[TIMS], "clock_off")
    code, shown, _ = run(["--json"], monkeypatch, capfd)
    assert code == 1
    channel, tims = json.loads(shown)
    assert (channel["api"], channel["profiles"], channel["red"]) == ("v2", [12345678], 0)
    assert [one["name"] for one in tims["checks"] if one["state"] == "red"] == ["clock"]
    assert tims["red"] == 1


def test_a_new_connection_is_made_of_options_and_secrets_of_the_environment(
    controls: dict[str, Control], no_database: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("CROSSDOCK_CONNECT_SECRET", "sandbox-secret")
    monkeypatch.setenv("CROSSDOCK_CONNECT_REFRESH_TOKEN", "sandbox-refresh")
    words = [CHANNEL, "--host", controls[CHANNEL].url, "--login", "crossdock-sandbox", "--profile", "12345678"]
    code, shown, _ = run(words, monkeypatch, capfd)
    assert code == 0
    assert "sandbox-secret" not in shown
    assert "sandbox-refresh" not in shown
    shown = shown[shown.index("AIRFLOW_CONN_CHANNEL_ADVISOR=") :].splitlines()[0].partition("=")[2]
    assert json.loads(shown)["password"] == "***"
    file = tmp_path / "new" / "channel.env"
    code, shown, _ = run([*words, "--file", str(file)], monkeypatch, capfd)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "sandbox-secret" not in shown
    name, _, quoted = file.read_text().strip().partition("=")
    assert name == "AIRFLOW_CONN_CHANNEL_ADVISOR"
    (text,) = shlex.split(quoted)
    made = parse(CHANNEL, text)
    assert (made.secret, made.extra) == (
        "sandbox-secret", {"refresh_token": "sandbox-refresh", "profile_id": 12345678, "api": "v2"}
    )  # fmt: skip
    code, shown, _ = run([*words, "--print"], monkeypatch, capfd)
    assert f"AIRFLOW_CONN_CHANNEL_ADVISOR={text}\n" in shown


def test_the_file_of_a_connection_is_taken_by_a_shell_as_it_is(tmp_path: Path) -> None:
    odd = 'it\'s $HOME `id` \\n #1 "q" {a,b} é'
    made, file = Connection(TIMS, "https://erp.example", odd, odd), tmp_path / "tims.env"
    leave(made, connect.Found(), True, False, file, False, True)
    done = subprocess.run(
        ["/bin/sh", "-c", f'set -a; . {file}; set +a; printenv "$0"', made.variable], capture_output=True, check=True
    )
    again = parse(TIMS, done.stdout.decode())
    assert (again.base_url, again.login, again.secret) == (made.base_url, odd, odd)


def test_a_connection_is_kept_in_airflow_by_a_file_and_not_by_words(
    controls: dict[str, Control], no_database: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Airflow's own command is replaced by one that notes its words and the file that it is given."""
    noted = tmp_path / "noted"
    program = tmp_path / "bin" / "airflow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {noted}\ncat "$3" > {noted}.file\nstat -c %a "$3" > {noted}.mode\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program.parent / "python"))
    variables(controls, monkeypatch)
    code, shown, _ = run([TIMS, "--airflow"], monkeypatch, capfd)
    assert code == 0
    assert "Airflow has the connection tims." in shown
    words = noted.read_text().split()
    assert words[:2] == ["connections", "import"]
    assert "sandbox-secret" not in noted.read_text()
    assert json.loads(Path(f"{noted}.file").read_text())["tims"]["password"] == "sandbox-secret"
    assert Path(f"{noted}.mode").read_text().strip() == "600"
    assert not Path(words[2]).exists()


# ---- consent in a browser ----


class Authority(Server):
    """A server that asks a person for consent, as Channel Advisor does, and turns codes into refresh tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.agree = True
        self.codes: dict[str, str] = {}  # code -> redirect address
        self.default("/oauth2/authorize", self._authorize)
        self.default("/oauth2/token", self._code)

    def _authorize(self, request: Any) -> Reply:
        given = {name: values[0] for name, values in request.query.items()}
        assert given["response_type"] == "code"
        assert given["access_type"] == "offline"
        assert given["scope"] == "orders inventory"
        code = f"code-{len(self.codes)}"
        self.codes[code] = given["redirect_uri"]
        answer = f"code={code}" if self.agree else "error=access_denied"
        return Reply(302, headers={"Location": f"{given['redirect_uri']}?{answer}&state={given['state']}"})

    def _code(self, request: Any) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        login = base64.b64decode(request.headers["authorization"].split()[1]).decode()
        right = self.codes.pop(form.get("code", ""), None) == form.get("redirect_uri") and login == "app:hidden"
        if form.get("grant_type") != "authorization_code" or not right:
            return Reply(400, b"Bad Request", kind="text/plain")
        return ok({"access_token": "a", "token_type": "bearer", "expires_in": 3600, "refresh_token": "fresh"})


@pytest.fixture
def authority() -> Iterator[Authority]:
    server = Authority()
    yield server
    server.close()


def visit(address: str) -> requests.Response:
    """A person's browser that goes where it is sent."""
    with requests.Session() as browser:
        browser.trust_env = False
        return browser.get(address, timeout=5)


def test_consent_in_a_browser_gives_a_refresh_token(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    with Consent(given) as consent:
        assert "hidden" not in consent.address
        page = visit(consent.address)
        assert "Crossdock has what it needs" in page.text
        consent.wait(1)
        assert consent.refresh_token(limits.of(given)) == "fresh"
    with pytest.raises(requests.ConnectionError):
        visit(consent.redirect)


def test_a_visit_with_another_state_is_not_taken(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    with Consent(given) as consent:
        for stranger in ("code=stolen&state=other", "code=stolen", ""):
            answer = visit(f"{consent.redirect}?{stranger}")
            assert answer.status_code == 404
        with pytest.raises(AuthError, match="Nobody came back"):
            consent.wait(0.05)
        assert not consent.take(f"{consent.redirect}?code=x&state=")


def test_a_refusal_and_a_code_that_is_not_taken_are_told(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    authority.agree = False
    with Consent(given) as consent:
        visit(consent.address)
        with pytest.raises(AuthError, match="access_denied"):
            consent.wait(1)
    authority.agree = True
    other = Connection(CHANNEL, authority.url, "app", "wrong")
    with Consent(other) as consent:
        visit(consent.address)
        with pytest.raises(AuthError, match="does not take the code"):
            consent.refresh_token(limits.of(other))


def test_a_port_that_is_in_use_is_named(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    with Consent(given) as first:
        port = urlsplit(first.redirect).port or 0
        with pytest.raises(ConfigError, match=f"Port {port} .*in use") as wrong:
            Consent(given, port=port)
        assert "--port" in wrong.value.do
    with Consent(given, port=port) as again:
        assert urlsplit(again.redirect).port == port


def test_a_code_that_was_used_or_is_too_old_is_told_with_what_to_compare(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    with Consent(given) as consent:
        visit(consent.address)
        assert consent.refresh_token(limits.of(given)) == "fresh"
        with pytest.raises(AuthError, match="does not take the code") as old:
            consent.refresh_token(limits.of(given))
        assert "five minutes" in old.value.do
        assert consent.redirect in old.value.do


def test_an_error_of_the_application_is_not_taken_for_a_refusal_by_the_seller(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    with Consent(given) as consent:
        state = parse_qs(urlsplit(consent.address).query)["state"][0]
        visit(f"{consent.redirect}?error=invalid_scope&state={state}")
        with pytest.raises(AuthError, match="invalid_scope") as wrong:
            consent.wait(1)
        assert "scopes" in wrong.value.do


def test_where_no_browser_opens_the_address_is_printed_with_the_way_back(
    authority: Authority, no_database: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody copies the printed address into a browser elsewhere."""
    opened: list[str] = []

    def no_browser(address: str) -> bool:
        opened.append(address)
        threading.Timer(0.1, visit, [address]).start()
        return False

    monkeypatch.setattr(webbrowser, "open", no_browser)
    monkeypatch.setenv("CROSSDOCK_CONNECT_SECRET", "hidden")
    words = [CHANNEL, "--host", authority.url, "--login", "app", "--browser", "--api", "v1"]
    code, shown, _ = run(words, monkeypatch, capfd)
    assert code == 1
    assert opened[0] in shown
    assert "ssh -L" in shown
    assert '"fresh"' not in shown
    assert "hidden" not in shown


def test_the_address_on_which_a_browser_ended_can_be_given_by_hand(authority: Authority) -> None:
    given = Connection(CHANNEL, authority.url, "app", "hidden")
    with Consent(given, "https://shop.example/done") as consent, requests.Session() as browser:
        answer = browser.get(consent.address, timeout=5, allow_redirects=False)
        ended = answer.headers["Location"]
        assert urlsplit(ended).netloc == "shop.example"
        assert consent.take(ended)
        assert consent.refresh_token(limits.of(given)) == "fresh"


# ---- production ----


@pytest.mark.parametrize("host", ["https://api.channeladvisor.com", "https://api.rithum.com", "https://10.0.0.7:8443"])
def test_a_test_speaks_to_no_other_machine(host: str) -> None:
    assert os.environ[THIS_MACHINE_ONLY] == "a test"
    given = Connection(CHANNEL, host, "login", "secret", {"refresh_token": "r"})
    with pytest.raises(ConfigError, match="this is a test: it speaks to this machine only"):
        Facade(given)
    checks = tried(given)
    assert red(checks) == {"settings"}
    assert ("production host of Channel Advisor" in checks["settings"].found) == (host.startswith("https://api"))
