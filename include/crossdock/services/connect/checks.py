"""What a check of a connection says, and what is found out on the way.

In: findings. Out: one `Check` for each thing that was tried. Never: a secret or personal data in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "red", "skipped"]
SCOPE_MISSING = "Not tried: its scope is missing."
TITLES = {
    "settings": "Settings", "name": "Address", "proxy": "Proxy", "connection": "Connection", "tls": "Encryption",
    "clock": "Clock",
    "credentials": "Credentials", "refresh_token": "Refresh token", "api": "API", "scopes": "Scopes",
    "profiles": "Profile", "limits": "Limits", "resources": "Lists", "export": "Right to export", "sites": "Sites",
    "company": "Company", "accounts": "Accounts", "locations": "Warehouses", "customers": "Customers",
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One thing that was tried. `name`: stable, for programs; "resource:" and the path of a list, "ability:" and what
    the API cannot do, "fact:" and the number of what was found out about the account. Red: `found`, what it `means`,
    what to `do` and `where`. Skipped: it could not be tried, `found` says why."""

    name: str
    title: str
    state: State
    found: str
    means: str = ""
    do: str = ""
    where: str = ""


@dataclass(frozen=True)
class Profile:
    """A profile (account) that an authorisation covers."""

    id: int
    name: str = ""
    currency: str = ""


@dataclass
class Found:
    """What the checks have found out about the account, for whoever writes the connection."""

    api: str = ""
    profiles: list[Profile] = field(default_factory=list)
    scopes: frozenset[str] | None = None  # None: the system does not tell them
    refresh_token: str = field(default="", repr=False)  # one that came in the place of the connection's, which is dead


def title_of(name: str) -> str:
    kind, _, rest = name.partition(":")
    if kind == "fact":
        return "Of this account"
    if kind == "ability":
        return f"Cannot do: {rest.replace('_', ' ')}"
    return f"List {rest}" if rest else TITLES[kind]


def ok(name: str, found: str) -> Check:
    return Check(name, title_of(name), "ok", found)


def red(name: str, found: str, means: str, do: str, where: str = "") -> Check:
    return Check(name, title_of(name), "red", found, means, do, where)


def skipped(name: str, why: str) -> Check:
    return Check(name, title_of(name), "skipped", why)


def not_tried(names: Iterable[str], why: str) -> Iterator[Check]:
    """The checks that an earlier red one makes impossible."""
    for name in names:
        yield skipped(name, f"Not tried: {why}.")
