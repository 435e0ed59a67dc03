"""Consent and tokens as the live service gives them: authorize, the code, identity, refresh tokens that die.

In: a seller's consent (the sandbox agrees at once), a code, a refresh token. Out: a redirect with a code, a refresh
token, claims. Never: a code that works twice or after five minutes; a refresh token that nobody used for three months.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from sandbox.channel_advisor import account
from sandbox.channel_advisor.account import Grant
from sandbox.channel_advisor_v1.face import Beside, Face
from sandbox.kernel.clock import DAY, SECOND
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.oauth import basic
from sandbox.kernel.system import Call

if TYPE_CHECKING:
    from sandbox.kernel.system import System

CODE_LIFE = 300 * SECOND
IDLE_LIFE = 90 * DAY
GRANT = "_v1_grant"  # refresh tokens: what they open, when they were used last
SCOPES = ("inventory", "orders", "inventory.readonly", "orders.readonly")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass
class Code:
    """A consent that was given."""

    grant: Grant
    redirect: str
    is_offline: bool
    given: int


class Consents:
    """The codes that are out; a restart forgets them."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.codes: dict[str, Code] = {}

    def authorize(self, call: Call) -> Answer:
        """A browser asks for consent: 302 to the application. 400 where there is nothing to go back to."""
        query = dict(parse_qsl(call.raw_query))
        redirect, application = query.get("redirect_uri", ""), query.get("client_id", "")
        if application not in account.APPLICATIONS or not _is_safe(redirect):
            raise Refusal(400, "", "The application or its redirect address is unknown.")
        scopes = tuple(query.get("scope", "").split())
        sent = {"state": query["state"]} if "state" in query else {}
        if query.get("response_type") != "code":
            return _back(redirect, {"error": "unsupported_response_type"} | sent)
        if not scopes or not set(scopes) <= set(SCOPES):
            return _back(redirect, {"error": "invalid_scope"} | sent)
        code = secrets.token_urlsafe(24)
        grant = Grant(application, scopes)
        is_offline = query.get("access_type") == "offline"
        self.codes[code] = Code(grant, redirect, is_offline, self.system.clock.passed())
        return _back(redirect, {"code": code} | sent)

    def exchange(self, application: str, form: dict[str, str]) -> Answer:
        """A code for tokens; a refresh token only where access_type was offline."""
        code = self.codes.pop(form.get("code", ""), None)
        if code is None or code.grant.application != application or code.redirect != form.get("redirect_uri"):
            return Answer(400, {"error": "invalid_grant"})
        if self.system.clock.passed() - code.given > CODE_LIFE:
            return Answer(400, {"error": "invalid_grant"})
        access = self.system.tokens.give(application, code.grant.scopes, code.grant.profiles)
        body = {"access_token": access.token, "token_type": "bearer", "expires_in": 3600}
        if code.is_offline:
            body["refresh_token"] = secrets.token_urlsafe(32)
            self.keep(str(body["refresh_token"]), code.grant)
        return Answer(200, body)

    # ---- refresh tokens ----
    def keep(self, token: str, grant: Grant, *, is_revoked: bool = False) -> None:
        used = self.system.clock.passed()
        doc = {"application": grant.application, "scopes": list(grant.scopes), "profiles": list(grant.profiles)}
        with self.system.store.write() as tx:
            tx.put(GRANT, token, doc | {"used": used, "revoked": is_revoked}, modified=used)

    def grant_of(self, token: str) -> Grant | None:
        """What a refresh token opens; None when it is unknown, revoked or was not used for too long."""
        with self.system.store.read() as tx:
            row = tx.get(GRANT, token)
        if row is None:
            return account.GRANTS.get(token)
        if row.doc["revoked"] or self.system.clock.passed() - row.doc["used"] > IDLE_LIFE:
            return None
        return Grant(row.doc["application"], tuple(row.doc["scopes"]), tuple(row.doc["profiles"]))

    def revoke(self, sent: dict[str, str]) -> dict[str, bool]:
        """The seller takes a consent back. ValueError for a token that opens nothing."""
        grant = self.grant_of(sent["refresh_token"])
        if grant is None:
            raise ValueError("The refresh token opens nothing.")
        self.keep(sent["refresh_token"], grant, is_revoked=True)
        return {"revoked": True}

    def token(self, authorization: str, form: dict[str, str]) -> Answer | None:
        """The answer of the token endpoint; None where the facade's own is right. Clients may prove themselves in the
        form, as some do."""
        proven = basic(authorization) or (form.get("client_id", ""), form.get("client_secret", ""))
        if account.APPLICATIONS.get(proven[0]) != proven[1]:
            return None
        if form.get("grant_type") == "authorization_code":
            return self.exchange(proven[0], form)
        if form.get("grant_type") != "refresh_token" or not form.get("refresh_token"):
            return None
        if set(form) - {"grant_type", "refresh_token", "client_id", "client_secret"}:
            return None
        grant = self.grant_of(form["refresh_token"])
        if grant is None or grant.application != proven[0]:
            return Answer(400, {"error": "invalid_grant"})
        self.keep(form["refresh_token"], grant)
        access = self.system.tokens.give(grant.application, grant.scopes, grant.profiles)
        return Answer(200, {"access_token": access.token, "token_type": "bearer", "expires_in": 3600})


def identity(call: Call) -> Answer:
    """The claims of a token."""
    claims = [("name", call.access.client)]
    claims += [("urn:ca:claim:scope", scope) for scope in sorted(call.access.scopes)]
    claims += [("urn:ca:claim:profile", str(profile)) for profile in call.access.profiles]
    return Answer(200, [{"$id": str(n), "Type": kind, "Value": value} for n, (kind, value) in enumerate(claims, 1)])


def add(face: Face, consents: Consents) -> None:
    face.beside["/oauth2/authorize"] = Beside(consents.authorize, is_open=True)
    face.beside["/oauth2/identity"] = Beside(identity)


def _is_safe(redirect: str) -> bool:
    """HTTPS, or a server of this machine."""
    split = urlsplit(redirect)
    return split.scheme == "https" or (split.scheme == "http" and split.netloc.rpartition(":")[0] in LOOPBACK)


def _back(redirect: str, query: dict[str, str]) -> Answer:
    sign = "&" if urlsplit(redirect).query else "?"
    return Answer(302, None, {"Location": f"{redirect}{sign}{urlencode(query)}"})
