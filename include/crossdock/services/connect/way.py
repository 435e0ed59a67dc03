"""The way to a system: address, proxy, encryption, credentials; and how far its clock is off.

In: a probe of the connection. Out: checks; whether there is a way, and a token. Never: a secret sent to a host whose
certificate is not trusted.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from crossdock.safe import safe
from crossdock.services.connect.checks import Check, Found, not_tried, ok, red, skipped
from crossdock.systems.connections import PRODUCTION_HOSTS, Connection
from crossdock.systems.failures import NAMES
from crossdock.systems.http import TOKEN_PATH, Answer
from crossdock.systems.probe import Probe, Unanswered

CLOCK_SECONDS = 120  # that a system's clock may be off
OWN_TIME = timedelta(days=1).total_seconds()  # a clock that is further off keeps a time of its own, as test systems do
CONSOLE = "the developer console of Channel Advisor (https://developer.channeladvisor.com)"
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z][A-Za-z_.-]{1,39}")  # of a refusal; what else stands there may repeat a secret
_OAUTH = ("invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope", "access_denied")
_REFRESH = re.compile(r"refresh[ _-]?token|invalid_grant")
_API_PATH = re.compile(r"/(?:v\d+|api(?:/v\d+)?|oauth2(?:/token)?|rest)$", re.IGNORECASE)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_AT_THE_PROXY = ("request", "cut", "garbled", "connect_timeout")  # where one is on the way, it is the first to look at
_NOT_RED = "read_timeout"  # the way is there; who answers late is found out by the lists
_any = msgspec.json.Decoder()


def way(probe: Probe) -> Generator[Check, None, bool]:
    """Tries address, proxy and certificate. Gives whether there is a way to the system."""
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
            yield from not_tried(("proxy", "connection", "tls"), "the address is not known")
            return False
    if wrong := _bundle(probe):
        yield from not_tried(("proxy", "connection"), "no certificate could be compared")
        yield wrong
        return False
    try:
        probe.get("/")
    except Unanswered as lost:
        yield from _no_way(probe, lost)
        return lost.row == _NOT_RED
    yield _by(probe)
    yield ok("connection", "It answers.")
    yield _trusted(connection)
    return True


def _by(probe: Probe) -> Check:
    unused = probe.is_here and any(os.environ.get(name) for name in _PROXIES)
    none = "None is on the way." + (
        " The one of the environment is not used for this machine itself." if unused else ""
    )
    return ok("proxy", f"By {probe.proxy}." if probe.proxy else none)


def _trusted(connection: Connection) -> Check:
    encrypted = connection.base_url.startswith("https:")
    return ok("tls", "The certificate is trusted." if encrypted else "Not needed: it runs on this machine.")


def _bundle(probe: Probe) -> Check | None:
    """What is wrong with the file of trusted certificates; None where nothing is."""
    file = probe.ca_bundle
    if not file or not probe.connection.base_url.startswith("https:"):
        return None
    try:
        ssl.create_default_context().load_verify_locations(**{"capath" if _is_folder(file) else "cafile": file})
    except FileNotFoundError:
        found = f"The file of certificates {safe(file)} does not exist."
    except (OSError, ssl.SSLError):
        found = f"The file of certificates {safe(file)} cannot be read as certificates (PEM)."
    else:
        return None
    return red(
        "tls", found, "No certificate could be compared with it; nothing was sent.",
        "Name the file that holds the certificate of your authority; take the entry out if the host's certificate is "
        "a public one.",
        f"ca_bundle in the extra of {probe.connection.variable}, or REQUESTS_CA_BUNDLE in the environment",
    )  # fmt: skip


def _no_way(probe: Probe, lost: Unanswered) -> Generator[Check, None, None]:
    """The checks of a way that ends before an answer."""
    connection, found = probe.connection, lost.error.message
    host, variable = connection.host, connection.variable
    if lost.row in ("proxy", "proxy_login") or (probe.proxy and lost.row in _AT_THE_PROXY):
        yield _proxy(probe, lost)
        yield from not_tried(("connection", "tls"), "the proxy lets nothing through")
        return
    yield _by(probe)
    if lost.row == _NOT_RED:
        yield ok("connection", "It takes connections; GET / was not answered in time.")
        yield _trusted(connection)
    elif lost.row in ("tls", "tls_plain", "tls_terms"):
        yield ok("connection", "It answers.")
        yield _encryption(probe, lost)
    else:
        means = "Something else answers there." if lost.row == "garbled" else "Nothing answers at this address."
        yield red("connection", found, means, lost.error.do, f"host in {variable}, or the network on the way to {host}")
        yield from not_tried(("tls",), "no answer came")


def _proxy(probe: Probe, lost: Unanswered) -> Check:
    """The red check of a proxy that lets nothing through."""
    host, where = probe.connection.host, "HTTPS_PROXY and NO_PROXY in the environment of Crossdock (of each worker)"
    directly = "or name the host in NO_PROXY if it is to be reached directly."
    means = f"Requests from this machine to {host} go by it, and none gets through."
    if lost.row == "proxy_login":
        return red(
            "proxy", f"The proxy {probe.proxy} wants a login (407).", means,
            f"Write user and password into its address (http://user:password@proxy:port), {directly}", where,
        )  # fmt: skip
    if lost.detail.startswith("it answers"):
        return red(
            "proxy", f"The proxy {probe.proxy} does not let requests to {host} through ({lost.detail}).", means,
            f"Have the host allowed by whoever runs the proxy, {directly}", where,
        )  # fmt: skip
    if lost.row == "request":
        return red(
            "proxy", f"The address of the proxy, {probe.proxy}, cannot be used.", means,
            f"Write it as http://proxy:port, {directly}", where,
        )  # fmt: skip
    if lost.row != "proxy":
        return red(
            "proxy", f"The proxy {probe.proxy} takes requests to {host}, and no connection comes about by it.", means,
            f"Ask whoever runs the proxy whether it lets {host} through or answers itself, {directly}", where,
        )  # fmt: skip
    return red(
        "proxy", f"The proxy {probe.proxy} cannot be reached.", means,
        f"Correct its address, start it, {directly}", where,
    )  # fmt: skip


def _encryption(probe: Probe, lost: Unanswered) -> Check:
    """The red check of a host that is not trusted, or does not encrypt."""
    connection = probe.connection
    where = f"host or ca_bundle in {connection.variable}"
    if lost.row == "tls_terms":
        return red("tls", lost.error.message, "No connection comes about; nothing was sent.", lost.error.do, where)
    if lost.row == "tls_plain" and probe.proxy:
        return red(
            "tls", f"What answers for {connection.host} by the proxy {probe.proxy} does not speak TLS.",
            "The proxy answers itself (with a page of its own, perhaps), or the port is one of plain http. "
            "Nothing was sent.",
            "Have the host allowed by whoever runs the proxy; correct the port of the host if that is wrong.",
            f"HTTPS_PROXY in the environment, or host in {connection.variable}",
        )  # fmt: skip
    means, do = _certificate(lost.error.message)
    return red("tls", lost.error.message, means, do, where)


def _is_folder(file: str) -> bool:
    return Path(file).is_dir()


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


def clock(probe: Probe, shown: Sequence[float] = (), *, by_date: bool = False) -> Check:
    """How far the system's clock is off: by the Date of every answer; else, and besides, by the time that its lists
    show (`shown`: seconds that each is ahead of ours). `by_date`: it has no other clock than that Date."""
    if by_date and not probe.clocks:
        return red(
            "clock", "Its answers have no Date, and the API has no other clock.",
            "Windows of changes cannot be read; no list can be.",
            "Something on the way takes the header away: have the proxy or gateway leave it.",
            probe.connection.host,
        )  # fmt: skip
    every = [*probe.clocks, *shown]
    offs = [off for off in every if abs(off) < OWN_TIME] or ([] if probe.is_here else probe.clocks)
    if every and not offs:
        return ok("clock", "It runs on this machine, and shows a time of its own, as test systems do.")
    if not offs:
        return skipped("clock", "Its answers tell no time.")
    off = max(offs, key=abs)
    if abs(off) <= CLOCK_SECONDS:
        own = (
            " Some of its answers show a time of their own, as those of test systems do."
            if len(offs) < len(every)
            else ""
        )
        return ok("clock", f"{abs(off):.0f} s apart.{own}")
    far = f"{abs(off) / 60:.0f} minutes" if abs(off) < 7200 else f"{abs(off) / 3600:,.0f} hours"
    return red(
        "clock", f"Its clock is {far} {'ahead of' if off > 0 else 'behind'} ours.",
        "Tokens would be used after their end, records look late, and windows of changes are read in the wrong place.",
        "Switch time synchronisation on, on this machine first (timedatectl set-ntp true); if ours is right, tell the "
        "operator of the other.",
        f"this machine, or {probe.connection.host}",
    )  # fmt: skip


# ---- credentials -----------------------------------------------------------------------------------------------------


def token(
    probe: Probe, form: Mapping[str, str], found: Found, path: str = TOKEN_PATH
) -> Generator[Check, None, dict[str, str]]:
    """Asks for a token. Gives the headers that carry it, none where there is none."""
    connection, has_refresh = probe.connection, "refresh_token" in form
    rest = ("refresh_token",) if has_refresh else ()
    try:
        answer = probe.ask_token(form, path)
        body = _body(answer)
        given = body.get("access_token")
        if answer.status == 200 and isinstance(given, str) and given:
            if isinstance(body.get("scope"), str):
                found.scopes = frozenset(body["scope"].split())
            yield ok("credentials", f"{safe(connection.login)} is let in.")
            if has_refresh:
                one = _refresh(probe, form, body.get("refresh_token"), found, path)
                yield one
                given = "" if one.state == "red" else given
            return {"Authorization": f"Bearer {given}"} if given else {}
    except Unanswered as lost:
        yield red(
            "credentials", lost.error.message, "No token was given.", lost.error.do, f"host in {connection.variable}"
        )
        yield from not_tried(rest, "there is no answer")
        return {}
    code = code_of(body)
    if odd := strange("credentials", answer, path, connection, "No token was given."):
        yield odd
    elif has_refresh and _is_about_refresh(answer, code):
        yield ok("credentials", f"{safe(connection.login)} and its secret are right.")
        yield red(
            "refresh_token", f"The refresh token is not accepted ({code or answer.status}).",
            "It has expired (3 months without use), was revoked by the seller, or belongs to another application.",
            f"Make a new one in {CONSOLE}, or by `crossdock connect channel_advisor --browser`.",
            f"refresh_token in the extra of {connection.variable}",
        )  # fmt: skip
        return {}
    else:
        yield _no_token(connection, answer, code, has_refresh, path)
    yield from not_tried(rest, "the login comes first")
    return {}


def _refresh(probe: Probe, form: Mapping[str, str], other: Any, found: Found, path: str) -> Check:
    """The check of a refresh token that has opened the account. `other`: one that came with the answer; then the first
    is tried once more, for Crossdock's programs use the one of the connection again and again."""
    works = "It opens the account. It dies after 3 months without use."
    if not isinstance(other, str) or other in ("", form["refresh_token"]):
        return ok("refresh_token", works)
    again = probe.ask_token(form, path)
    if again.status == 200:
        return ok("refresh_token", f"{works} Another one comes with each token; the first goes on to work.")
    found.refresh_token = other
    return red(
        "refresh_token", "The refresh token worked once, and is dead now: each one is replaced by another (rotation).",
        "Crossdock's programs share the token of the connection and cannot hand a new one on.",
        f"Have rotation switched off for the application in {CONSOLE}, then make a new refresh token. The one that has "
        "come in its place is in what --file, --airflow or --print leaves.",
        f"refresh_token in the extra of {probe.connection.variable}",
    )  # fmt: skip


def _is_about_refresh(answer: Answer, code: str) -> bool:
    """Whether a refusal is one of the refresh token: by its code, where it has none by its words."""
    if code.lower() in ("invalid_grant", "invalid_token", "expired_token"):
        return True
    return not code and bool(_REFRESH.search(answer.content[:500].decode("utf-8", "replace").lower()))


def _no_token(connection: Connection, answer: Answer, code: str, has_refresh: bool, path: str) -> Check:
    where = f"login and password of {connection.variable}"
    finder = (
        f"Copy application id and shared secret from {CONSOLE}"
        if has_refresh
        else "Have the administrator of TIMS look up the client's id and make a new secret"
    )
    kind = code.lower()
    if answer.status == 404 or (kind not in _OAUTH and _API_PATH.search(connection.base_url)):
        other = "" if has_refresh else ", or say in include/config/tims.yaml how it logs in (login: kind, token_path)"
        return red(
            "credentials", f"There is no {path} at this address ({answer.status}).",
            "The host is not the API's, or its address has a path too many or too few.",
            f"{host_without_path(connection)}{other}.", f"host in {connection.variable}",
        )  # fmt: skip
    if kind in ("invalid_client", "invalid_grant") or (answer.status == 401 and kind != "unauthorized_client"):
        return red(
            "credentials", f"The login {safe(connection.login)} or its secret is wrong ({code or answer.status}).",
            "Nothing can be read.", f"{finder}; mind spaces at the ends.", where,
        )  # fmt: skip
    if answer.status == 429:
        return red(
            "credentials", "Too many tokens were asked for (429).",
            "Another program uses the same login without pause.",
            "Wait a minute and try again; find the other program.", where,
        )  # fmt: skip
    if answer.status == 403 or kind in ("unauthorized_client", "access_denied"):
        return red(
            "credentials", f"The login {safe(connection.login)} is known, and is refused ({code or answer.status}).",
            "It is blocked, may not use this API, or may not come from the address of this machine.",
            f"Ask the operator of {NAMES[connection.name]} to let it in; else: {lowered(finder)}.", where,
        )  # fmt: skip
    if kind in ("invalid_scope", "unsupported_grant_type"):
        scopes = "the scopes `orders inventory`" if has_refresh else "the grant client_credentials and its scopes"
        return red(
            "credentials", f"The login {safe(connection.login)} gets no token of this kind ({code}).",
            "It was not given what Crossdock asks for.", f"Have {scopes} given to it.", where,
        )  # fmt: skip
    if answer.status == 400 and has_refresh:
        return red(
            "credentials", f"The token is refused without a reason ({in_words(answer)}).",
            "The application id, its shared secret or the refresh token is wrong: Channel Advisor does not say which.",
            f"{finder}, then make a new refresh token for that same application.",
            f"login, password and refresh_token of {connection.variable}",
        )  # fmt: skip
    if answer.status < 300:
        return red(
            "credentials", f"{path} is answered with {in_words(answer)}, and no access_token in it.",
            "Something else may answer in the place of the API.", "Correct the host.", f"host in {connection.variable}",
        )  # fmt: skip
    return red(
        "credentials", f"The token is refused: {code or in_words(answer)}.", "Nothing can be read.", f"{finder}.", where
    )


def code_of(body: Mapping[str, Any]) -> str:
    """The code of a refusal, in the shapes {"error": "..."} and {"error": {"code": "..."}}; "" where it has none, or
    another text."""
    error = body.get("error")
    code = error.get("code") if isinstance(error, Mapping) else error
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def host_without_path(connection: Connection) -> str:
    """What to do about a host whose path may be one too many."""
    path = urlsplit(connection.base_url).path
    if _API_PATH.search(path):
        short = connection.base_url.removesuffix(path) + _API_PATH.sub("", path)
        return f"Take the end {_API_PATH.search(path)[0]} off the host, Crossdock adds it itself: {short}"  # type: ignore[index]
    return f"Correct the host; the path {path} in it may be wrong" if path else "Correct the host"


def lowered(text: str) -> str:
    """A sentence that goes on after a colon."""
    return f"{text[:1].lower()}{text[1:]}"


# ---- answers that are none of the API's ------------------------------------------------------------------------------


def strange(name: str, answer: Answer, path: str, connection: Connection, needed: str = "") -> Check | None:
    """The red check of an answer that the API itself hardly gave: a web page, a redirect, an error of a server,
    nothing. None for any other."""
    where = f"host in {connection.variable}"
    if 300 <= answer.status < 400:
        to = _target(answer, f"{connection.base_url}{path}")
        return red(
            name, f"{path} is answered with a redirect ({answer.status}){f' to {to}' if to else ''}.",
            f"Redirects are not followed: they lead to a login page, or the API has moved. {needed}".strip(),
            f"Open {connection.base_url}{path} in a browser and see where it ends. If that is the API, write its "
            "address as host; if it is a login page, have the gateway let Crossdock through.",
            where,
        )  # fmt: skip
    if is_page(answer) and answer.status != 404:
        return page(name, answer, path, connection, needed)
    if answer.status >= 500:
        return red(
            name, f"{path} fails at the other side ({answer.status}).",
            f"{NAMES[connection.name]}, or what stands before it, is out of order. {needed}".strip(),
            f"Try again in some minutes; if it stays so, ask the operator of {connection.host}.", connection.host,
        )  # fmt: skip
    if answer.status < 300 and not answer.content.strip():
        return red(
            name, f"{path} is answered with nothing ({answer.status} and an empty body).",
            f"Something answers in the place of the API, or it is out of order. {needed}".strip(),
            f"Correct the host if it is not the API's; else tell the operator of {connection.host}.", where,
        )  # fmt: skip
    return None


def is_page(answer: Answer) -> bool:
    """Whether an answer is a web page."""
    start = answer.content.lstrip()[:200].lower()
    kind = answer.headers.get("Content-Type", "").lower()
    return ("html" in kind and bool(start)) or start.startswith((b"<!doctype html", b"<html"))


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


def _target(answer: Answer, asked_for: str) -> str:
    """Where a redirect leads, without its query: it may hold a token."""
    location = answer.headers.get("Location", "")
    try:
        to = urlsplit(urljoin(asked_for, location)) if location else None
    except ValueError:
        return ""
    return safe(f"{to.scheme}://{to.hostname}{f':{to.port}' if to.port else ''}{to.path}") if to and to.hostname else ""


def in_words(answer: Answer) -> str:
    """An answer by its status and kind, without its content."""
    kind = "JSON" if answer.is_json else "plain text" if answer.content else "nothing"
    return f"{answer.status} and {'a web page' if is_page(answer) else kind}"


def _body(answer: Answer) -> dict[str, Any]:
    try:
        body = _any.decode(answer.content)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
