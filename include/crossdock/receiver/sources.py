"""Where events come from: the routes of the receiver, how each is signed, and which flow reads what.

In: `include/config/receiver.yaml`, secrets of the environment or of connections. Out: open sources. Never: a secret in
a repr, a message or a file of the project.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from crossdock import config
from crossdock.config import Struct
from crossdock.errors import ConfigError
from crossdock.settings import base_dir
from crossdock.systems import connections
from crossdock.systems.connections import Connection

FILE = "receiver.yaml"
PORT = 8090  # of the receiver, where no other is named
SHORTEST_SECRET = 16  # characters; the contract of Channel Advisor takes no shorter one
PUBLIC_URL, INSIDE_URL = "CROSSDOCK_RECEIVER_URL", "CROSSDOCK_RECEIVER_INSIDE_URL"
IN_EXTRA = ("webhook_secret", "webhook_secret_previous")

Count = Annotated[int, Meta(ge=1, le=10**9)]
Path = Annotated[str, Meta(pattern="^(/[a-z0-9-]+)+$", description="a path such as /hooks/tims")]


class Signature(Struct, frozen=True):
    """How a source signs: an HMAC over the raw body, behind the timestamp and a dot where it sends one."""

    header: str = ""  # empty: not known yet, and the source is off
    timestamp: str = ""  # header with the moment of signing in Unix seconds; empty: there is none
    prefix: str = ""
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"


class Fields(Struct, frozen=True):
    """Names of the body's fields; an empty one is not there."""

    record: str
    id: str = ""  # empty: the same body is the same event
    type: str = ""
    profile: str = ""
    at: str = ""


class Headers(Struct, frozen=True):
    """Headers that repeat a field, and must agree with it; an empty one is not there."""

    id: str = ""
    type: str = ""


class Source(Struct, frozen=True):
    """One dialect of one system."""

    system: Literal["channel_advisor", "tims"]
    path: Path
    signature: Signature
    fields: Fields
    events: dict[str, tuple[str, ...]]  # type of an event -> the flows that read its record; "" where there is no type
    api: str = ""  # of Channel Advisor: the API that the connection speaks
    subscribe: tuple[str, ...] = ()  # types to subscribe to; empty: those of `events`
    headers: Headers = Headers()
    addresses: tuple[str, ...] = ()  # networks that deliveries come from; empty: any

    def problems(self) -> Iterable[tuple[str, str]]:
        return [("addresses", f"{text!r} is no network such as 203.0.113.0/24") for text in self.addresses
                if not _is_network(text)]  # fmt: skip

    @property
    def types(self) -> frozenset[str]:
        """The types of events that a flow reads the record of."""
        return frozenset(self.subscribe or (type for type, flows in self.events.items() if type and flows))


class Settings(Struct, frozen=True):
    """The whole file."""

    sources: dict[str, Source]
    public_url: str = ""  # where the systems reach the receiver, without a source's path; empty: events are off
    inside_url: str = ""  # where the workers reach it; empty: the same
    keep_days: Count = 30  # of a worked event
    body_bytes: Count = 262_144
    age_seconds: Count = 300
    at_once: Count = 500  # deliveries that are read or written at one time
    proxies: tuple[str, ...] = ()  # addresses of reverse proxies, whose X-Forwarded-For is believed

    def problems(self) -> Iterable[tuple[str, str]]:
        paths = [source.path for source in self.sources.values()]
        if len(set(paths)) < len(paths):
            yield "sources", "two of them have one path"
        for name in ("public_url", "inside_url"):
            text = getattr(self, name)
            if text and not _is_base(text, inside=name == "inside_url"):
                yield name, f"{text!r} is no address such as https://events.example.com"

    @property
    def address(self) -> str:
        """Where the systems reach the receiver: of the environment, or else of the file; "" where events are off.
        Raises ConfigError."""
        return _base(PUBLIC_URL, self.public_url)

    @property
    def inside(self) -> str:
        """Where this machine reaches the receiver. Raises ConfigError."""
        return _base(INSIDE_URL, self.inside_url, inside=True) or self.address


def read() -> config.File[Settings]:
    return config.read(base_dir() / FILE, Settings)


def load() -> Settings:
    """The file that ships with the code, for it says who may write to us. Raises ConfigError."""
    return config.load(base_dir() / FILE, Settings)


@dataclass(frozen=True)
class Secrets:
    """What a source signs with: the present secret first, then the one before it, until nobody uses it any more."""

    values: tuple[str, ...] = field(repr=False)

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(value.encode() for value in self.values)


@dataclass(frozen=True)
class OpenSource:
    """A source whose deliveries can be proved."""

    name: str
    rules: Source
    secrets: Secrets

    @cached_property
    def _networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(text) for text in self.rules.addresses)

    def lets_in(self, address: str) -> bool:
        """Whether deliveries may come from this address."""
        if not self._networks:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in network for network in self._networks)

    def is_signed(self, signature: str, timestamp: str, body: bytes) -> bool:
        """Whether one of the secrets made the signature. Takes the same time whichever it is, and for none."""
        given = signature.encode("latin-1", "replace")
        agreeing = 0
        for key in self.secrets.keys:
            agreeing += hmac.compare_digest(signed(self.rules.signature, key, timestamp, body).encode(), given)
        return agreeing > 0


def signed(rules: Signature, key: bytes, timestamp: str, body: bytes) -> str:
    """The signature that a source with this secret gives a body."""
    covered = timestamp.encode("latin-1", "replace") + b"." + body if rules.timestamp else body
    digest = hmac.new(key, covered, getattr(hashlib, rules.algorithm)).digest()
    text = digest.hex() if rules.encoding == "hex" else base64.b64encode(digest).decode()
    return f"{rules.prefix}{text}"


def open_sources(settings: Settings) -> list[OpenSource]:
    """The sources whose way to sign is known and whose secret is there. Raises ConfigError where there is none, and for
    a secret that anybody might guess."""
    found = []
    for name, rules in settings.sources.items():
        if rules.signature.header and (secrets := secrets_of(rules.system)):
            found.append(OpenSource(name, rules, secrets))
    if not found:
        names = " or ".join(sorted({variable(rules.system) for rules in settings.sources.values()}))
        raise ConfigError(
            "Nothing can be received: no system's signing secret is there.",
            do=f"Set {names} to the secret of the subscription, or {IN_EXTRA[0]} in the extra of the connection.",
        )
    return found


def variable(system: str) -> str:
    """The environment variable with a system's signing secret. `_PREVIOUS` behind it names the one before."""
    return f"CROSSDOCK_WEBHOOK_SECRET_{system.upper()}"


def secrets_of(system: str, connection: Connection | None = None) -> Secrets | None:
    """A system's signing secrets: of the environment, or else of its connection's extra; None where there are none.
    `connection`: where it is not the one that the environment names.

    A receiver that other machines reach is best given the secrets alone, and no connection. Raises ConfigError."""
    names = [variable(system), f"{variable(system)}_PREVIOUS"]
    values = [os.environ.get(name, "") for name in names]
    if not values[0] and connection is None and os.environ.get(connections.variable(system), "").strip():
        connection = connections.from_environment(system)
    if not values[0] and connection is not None:
        values = [connection.extra.get(name) or "" for name in IN_EXTRA]
        names = [f"{name} in the extra of {connections.variable(system)}" for name in IN_EXTRA]
    if not values[0]:
        return None
    for name, value in zip(names, values, strict=True):
        if value and (not isinstance(value, str) or len(value) < SHORTEST_SECRET):
            raise ConfigError(
                f"{name} is no text of {SHORTEST_SECRET} characters or more.",
                do="Make one that nobody guesses, e.g. `openssl rand -hex 32`, and subscribe with it.",
            )
    return Secrets(tuple(value for value in values if value))


def signing() -> dict[str, str]:
    """The environment variables with the secrets of all systems that have one: what a receiver needs of them. Empty:
    events are off. Raises ConfigError."""
    found: dict[str, str] = {}
    for system in sorted({rules.system for rules in load().sources.values() if rules.signature.header}):
        names = (variable(system), f"{variable(system)}_PREVIOUS")
        secrets = secrets_of(system)
        found |= dict(zip(names, secrets.values if secrets else (), strict=False))
    return found


def _base(variable: str, text: str, *, inside: bool = False) -> str:
    """An address of the receiver, of the environment or else of the file, without a slash at its end."""
    given = os.environ.get(variable, "").strip()
    if given and not _is_base(given, inside=inside):
        raise ConfigError(
            f"{variable} is no address such as https://events.example.com.",
            do="Give scheme, host, port and the path in front of /hooks, if any; http is for this machine only.",
        )
    return (given or text).rstrip("/")


def _is_base(text: str, *, inside: bool = False) -> bool:
    """Whether a text is an address that nobody but the receiver reads: https, or http of this machine; `inside` a
    network of our own http, too."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and (inside or connections.is_loopback(host)))
    extra = parts.username or parts.password or parts.query or parts.fragment
    return is_safe and bool(host) and not extra and text.isascii() and text.isprintable() and " " not in text


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
