"""The way to a system: address, proxy, encryption, clock, credentials.

In: a probe of the connection. Out: checks; whether there is a way, and a token. Never: a secret sent to a host whose
certificate is not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

import msgspec

from crossdock.safe import safe
from crossdock.services.connect.checks import Check, Found, not_tried, ok, red, skipped
from crossdock.systems.connections import PRODUCTION_HOSTS, Connection
from crossdock.systems.failures import NAMES
from crossdock.systems.http import TOKEN_PATH, Answer
from crossdock.systems.probe import Probe, Unanswered

CLOCK_SECONDS = 120  # that a system's clock may be off
CONSOLE = "the developer console of Channel Advisor (https://developer.channeladvisor.com)"
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_NOT_RED = "read_timeout"  # the way is there; who answers late is found out by the lists
_any = msgspec.json.Decoder()


def way(probe: Probe) -> Generator[Check, None, bool]:
    """Tries address, proxy, certificate and clock. Gives whether there is a way to the system."""
    connection, host = probe.connection, probe.connection.host
    owner = PRODUCTION_HOSTS.get(host.partition(":")[0].lower())
    yield ok("settings", f"{host}{f', the real {owner}' if owner else ''}; a login is given.")
    if probe.proxy:
        yield ok("name", f"{host} is looked up by the proxy.")
    else:
        try:
            yield ok("name", f"{host} is {', '.join(probe.addresses())}.")
        except Unanswered:
            yield red(
                "name", f"The name {host} is not known here.",
                f"{NAMES.get(connection.name, connection.name)} cannot be reached from this machine; nothing was sent.",
                "Correct the spelling of the host. If it is right, this machine's name resolution or network is not.",
                f"host in {connection.variable}",
            )  # fmt: skip
            yield from not_tried(("proxy", "tls", "clock"), "the address is not known")
            return False
    try:
        probe.get("/")
    except Unanswered as lost:
        yield from _no_way(probe, lost)
        if lost.row != _NOT_RED:
            return False
    else:
        yield ok("proxy", f"By {probe.proxy}." if probe.proxy else "None is on the way.")
        encrypted = connection.base_url.startswith("https:")
        yield ok("tls", "The certificate is trusted." if encrypted else "Not needed: it runs on this machine.")
    yield _clock(probe)
    return True


def _no_way(probe: Probe, lost: Unanswered) -> Generator[Check, None, None]:
    """The checks of a way that ends before an answer."""
    host, variable, found = probe.connection.host, probe.connection.variable, lost.error.message
    if lost.row in ("proxy", "proxy_login"):
        directly = "or name the host in NO_PROXY if it is to be reached directly."
        login = lost.row == "proxy_login"
        yield red(
            "proxy",
            f"The proxy {probe.proxy} {'wants a login (407)' if login else 'cannot be reached'}.",
            f"Requests from this machine to {host} go by it, and none gets through.",
            f"Write user and password into its address (http://user:password@proxy:port), {directly}"
            if login
            else f"Correct its address, start it, {directly}",
            "HTTPS_PROXY and NO_PROXY in the environment of Crossdock (of each worker)",
        )
        yield from not_tried(("tls", "clock"), "the proxy lets nothing through")
        return
    yield ok("proxy", f"By {probe.proxy}." if probe.proxy else "None is on the way.")
    if lost.row == _NOT_RED:
        yield ok("tls", "The certificate is trusted.")
        return
    if lost.row in ("tls", "tls_plain"):
        means, do = _certificate(found)
        yield red("tls", found, means, do, f"host or ca_bundle in {variable}")
    else:
        yield red("tls", found, "Nothing answers at this address.", lost.error.do, f"host in {variable}")
    yield from not_tried(("clock",), "no answer came")


def _certificate(found: str) -> tuple[str, str]:
    """What a refused certificate means, and what to do."""
    text = found.lower()
    if "does not speak tls" in text:
        return "The port is one of plain http.", "Correct the port of the host, or have TLS put in front of it."
    if "expired" in text:
        return (
            "Its certificate has run out, so that nobody can tell whether it is the real host. No secret was sent.",
            "Have its operator renew it. If it has not run out, the clock of this machine is wrong.",
        )
    if "not yet valid" in text:
        return "Its certificate begins later than this machine's clock says.", "Correct the clock of this machine."
    if "mismatch" in text or "not valid for" in text:
        return (
            "The certificate is for another name: the host is misspelt, or somebody else answers. No secret was sent.",
            "Write the host as the certificate names it.",
        )
    return (
        "Its certificate is signed by nobody that this machine trusts: a private authority, or a proxy that opens the "
        "encryption. No secret was sent.",
        "If the authority is your own, write its certificate into a file and name the file as ca_bundle in the extra; "
        "do not switch the check off.",
    )


def _clock(probe: Probe) -> Check:
    off = probe.clock_off
    if off is None:
        return skipped("clock", "Its answers have no Date.")
    if abs(off) <= CLOCK_SECONDS:
        return ok("clock", f"{abs(off):.0f} s apart.")
    far = f"{abs(off) / 60:.0f} minutes" if abs(off) < 7200 else f"{abs(off) / 3600:,.0f} hours"
    return red(
        "clock", f"Its clock is {far} {'ahead of' if off > 0 else 'behind'} ours.",
        "Tokens would be used after their end, records look late, and windows of changes are read in the wrong place.",
        "Switch time synchronisation on, on this machine first (timedatectl set-ntp true); if ours is right, tell the "
        "operator of the other.",
        f"this machine, or {probe.connection.host}",
    )  # fmt: skip


def token(
    probe: Probe, form: Mapping[str, str], found: Found, path: str = TOKEN_PATH
) -> Generator[Check, None, dict[str, str]]:
    """Asks for a token. Gives the headers that carry it, none where there is none."""
    connection, has_refresh = probe.connection, "refresh_token" in form
    rest = ("refresh_token",) if has_refresh else ()
    try:
        answer = probe.ask_token(form, path)
    except Unanswered as lost:
        yield red("credentials", lost.error.message, "No token was given.", lost.error.do)
        yield from not_tried(rest, "there is no answer")
        return {}
    body = _body(answer)
    given = body.get("access_token")
    if answer.status == 200 and isinstance(given, str) and given:
        if isinstance(body.get("scope"), str):
            found.scopes = frozenset(body["scope"].split())
        yield ok("credentials", f"{safe(connection.login)} is let in.")
        if has_refresh:
            yield ok("refresh_token", "It opens the account. It dies after 3 months without use.")
        return {"Authorization": f"Bearer {given}"}
    code = str(body.get("error") or "")
    if code == "invalid_grant" and has_refresh:
        yield ok("credentials", f"{safe(connection.login)} and its secret are right.")
        yield red(
            "refresh_token", "The refresh token is not accepted (invalid_grant).",
            "It has expired (3 months without use), was revoked by the seller, or belongs to another application.",
            f"Make a new one in {CONSOLE}, or by `crossdock connect channel_advisor --browser`.",
            f"refresh_token in the extra of {connection.variable}",
        )  # fmt: skip
        return {}
    yield _no_token(connection, answer, code, has_refresh, path)
    yield from not_tried(rest, "the login comes first")
    return {}


def _no_token(connection: Connection, answer: Answer, code: str, has_refresh: bool, path: str) -> Check:
    where = f"login and password of {connection.variable}"
    finder = (
        f"Copy application id and shared secret from {CONSOLE}"
        if has_refresh
        else "Have the administrator of TIMS look up the client's id and make a new secret"
    )
    if is_page(answer):
        return page("credentials", answer, path, connection)
    if code == "invalid_client" or answer.status == 401:
        return red(
            "credentials", f"The login {safe(connection.login)} or its secret is wrong (invalid_client).",
            "Nothing can be read.", f"{finder}; mind spaces at the ends.", where,
        )  # fmt: skip
    if answer.status == 404:
        return red(
            "credentials", f"There is no {path} at this address (404).",
            "The host is not the API's, or its address has a path too many or too few.", "Correct the host.",
            f"host in {connection.variable}",
        )  # fmt: skip
    if answer.status == 429:
        return red(
            "credentials", "Too many tokens were asked for (429).",
            "Another program uses the same login without pause.",
            "Wait a minute and try again; find the other program.",
        )  # fmt: skip
    if answer.status == 400 and has_refresh:
        return red(
            "credentials", f"The token is refused without a reason ({in_words(answer)}).",
            "The application id, its shared secret or the refresh token is wrong: Channel Advisor does not say which.",
            f"{finder}, then make a new refresh token for that same application.",
            f"login, password and refresh_token of {connection.variable}",
        )  # fmt: skip
    reason = safe(code) or in_words(answer)
    return red("credentials", f"The token is refused: {reason}.", "Nothing can be read.", f"{finder}.", where)


def is_page(answer: Answer) -> bool:
    """Whether an answer is a web page."""
    start = answer.content.lstrip()[:200].lower()
    kind = answer.headers.get("Content-Type", "").lower()
    return "html" in kind or start.startswith((b"<!doctype html", b"<html"))


def page(name: str, answer: Answer, path: str, connection: Connection, needed: str = "") -> Check:
    """The red check of a web page in the place of an answer."""
    heading = _TITLE.search(answer.content[:4_000])
    words = f' "{safe(heading[1].decode("utf-8", "replace").strip())[:80]}"' if heading else ""
    means = "Something answers in the place of the API: a login page, a gateway, a proxy's notice, or a wrong host."
    return red(
        name, f"{path} is answered with a web page{words} (HTML, status {answer.status}), not with JSON.",
        f"{means} {needed}".strip(),
        f"Open {connection.base_url}{path} in a browser and see who speaks; then correct the host, or have the gateway "
        "let Crossdock through.",
        f"host in {connection.variable}",
    )  # fmt: skip


def in_words(answer: Answer) -> str:
    """An answer by its status and kind, without its content."""
    kind = "JSON" if answer.is_json else "plain text" if answer.content else "nothing"
    return f"{answer.status} and {'a web page' if is_page(answer) else kind}"


def _body(answer: Answer) -> dict[str, Any]:
    try:
        body = _any.decode(answer.content)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}
