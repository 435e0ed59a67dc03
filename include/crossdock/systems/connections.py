"""Where a system is and how to log in to it.

In: the text of one Airflow connection, as JSON or as URI, the same forms that Airflow reads.
Out: one `Connection`.
Never: plain http to another machine, a secret in a repr or a message, a read of Airflow itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from crossdock.errors import ConfigError

# Hosts of systems in real use, by their owner. What only tries things out speaks to none of them.
PRODUCTION_HOSTS = {
    "api.channeladvisor.com": "Channel Advisor",
    "complete.channeladvisor.com": "Channel Advisor",
    "developer.channeladvisor.com": "Channel Advisor",
    "api.rithum.com": "Channel Advisor (Rithum)",
    "api.dsco.io": "Rithum's drop-ship API",
}
THIS_MACHINE_ONLY = "CROSSDOCK_THIS_MACHINE_ONLY"  # names who may speak to this machine only: the tests, make demo, ...
NOWHERE = (".test", ".invalid")  # names that lead to no machine (RFC 6761)
FIELDS = {"conn_type", "description", "host", "schema", "login", "password", "port", "extra", "conn_id", "uri"}


@dataclass(frozen=True)
class Connection:
    """One system. `base_url` has no trailing slash; `extra` is what the system needs besides (refresh_token, ...)."""

    name: str  # "channel_advisor", "tims"
    base_url: str
    login: str
    secret: str = field(repr=False)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def variable(self) -> str:
        """The environment variable a person changes."""
        return variable(self.name)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base_url).netloc


def variable(name: str) -> str:
    """The environment variable that Airflow reads a connection from."""
    return f"AIRFLOW_CONN_{name.upper()}"


def from_environment(name: str) -> Connection:
    """Reads `AIRFLOW_CONN_<NAME>`. ConfigError when it is absent or broken."""
    text = os.environ.get(variable(name), "").strip()
    if not text:
        raise ConfigError(
            f"The connection {name} is missing: {variable(name)} is not set.",
            do='Set it to {"conn_type": "http", "host": "https://...", "login": "...", "password": "..."}.',
            system=name,
        )
    return parse(name, text)


def parse(name: str, text: str) -> Connection:
    """Reads the JSON or the URI form. ConfigError says which part is wrong, never its secret."""
    try:
        parts = _from_json(text) if text.lstrip().startswith("{") else _from_uri(text)
    except ValueError:
        raise _broken(name, "is neither an Airflow connection in JSON nor a URI") from None
    unknown = sorted(set(parts) - FIELDS)
    if unknown:
        raise _broken(name, f"has a field that Airflow does not know ({unknown[0]})")
    extra = _extra(name, parts.get("extra"))
    base_url = _base_url(name, parts)
    login, secret = _text(parts.get("login")), _text(parts.get("password"))
    for what, value in (("login", login), ("password", secret)):
        if not value:
            raise _broken(name, f"has no {what}")
    return Connection(name, base_url, login, secret, extra)


def as_json(connection: Connection) -> str:
    """The connection with its secrets, as Airflow and `parse` read it."""
    return json.dumps(
        {
            "conn_type": connection.name,
            "host": connection.base_url,
            "login": connection.login,
            "password": connection.secret,
            "extra": connection.extra,
        }
    )


def _from_json(text: str) -> dict[str, Any]:
    parts = json.loads(text)
    if "uri" in parts:
        return _from_uri(_text(parts["uri"]))
    return parts


def _from_uri(text: str) -> dict[str, Any]:
    """Airflow's forms: `type://login:password@host:port/schema?extra`, and `type://protocol://login:password@host...`."""
    kind, mark, rest = text.partition("://")
    if not mark:
        raise ValueError(text)
    protocol, inner, tail = rest.partition("://")
    nested = bool(inner) and "@" not in protocol and ":" not in protocol and "/" not in protocol
    uri = urlsplit(f"{protocol}://{tail}" if nested else text)
    host = unquote(uri.hostname or "")
    query = dict(parse_qsl(uri.query, keep_blank_values=True))
    return {
        "conn_type": kind,
        "host": f"{protocol}://{_bracketed(host)}" if nested else host,
        "port": uri.port,
        "schema": unquote(uri.path[1:]),
        "login": unquote(uri.username or ""),
        "password": unquote(uri.password or ""),
        "extra": query.get("__extra__", query),
    }


def _extra(name: str, extra: Any) -> dict[str, Any]:
    try:
        extra = json.loads(extra) if isinstance(extra, str) and extra.strip() else extra or {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise _broken(name, "has an extra that is not a JSON object")
    return extra


def _base_url(name: str, parts: dict[str, Any]) -> str:
    """Scheme, host, port and path of the API. The scheme comes from the host, else from schema; else it is https."""
    host = _text(parts.get("host")).strip()
    if not host:
        raise _broken(name, "has no host")
    if "://" not in host:
        schema = _text(parts.get("schema")).lower()
        plain = schema == "http" or (schema != "https" and parts.get("conn_type") != "https" and is_loopback(host))
        host = f"{'http' if plain else 'https'}://{_bracketed(host)}"
    try:
        url = urlsplit(host)
        port = url.port or (int(parts["port"]) if parts.get("port") else None)
    except ValueError:
        raise _broken(name, "has a host or port that cannot be read") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise _broken(name, "has a host that is not an address such as https://api.example.com")
    if url.username or url.password or url.query or url.fragment:
        raise _broken(name, "has a host with more than scheme, name, port and path")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ConfigError(
            f"The connection {name} would send its password in the clear: {url.hostname} is spoken to by http.",
            do=f"Write https:// in the host of {variable(name)}; http is for this machine only.",
            system=name,
        )
    return f"{url.scheme}://{_bracketed(url.hostname)}{f':{port}' if port else ''}{url.path.rstrip('/')}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refuse_other_machines(connection: Connection) -> None:
    """Raises ConfigError for a connection that leads to another machine, in a process that may speak to this one only:
    one of the tests, of `make demo` or of the sandbox."""
    who = os.environ.get(THIS_MACHINE_ONLY, "")
    host = (urlsplit(connection.base_url).hostname or "").lower().rstrip(".")
    if not who or is_loopback(host) or host.endswith(NOWHERE):
        return
    kind = f"a production host of {PRODUCTION_HOSTS[host]}" if host in PRODUCTION_HOSTS else "another machine"
    raise ConfigError(
        f"The connection {connection.name} leads to {host}, {kind}, and this is {who}: it speaks to this machine only. "
        "Nothing was sent.",
        do=f"Take {connection.variable} out of the environment, or give it the address of a sandbox of this machine, "
        "such as http://127.0.0.1:8601.",
        system=connection.name,
    )


def this_machine_only(who: str, names: Iterable[str]) -> None:
    """Lets this process, and all that it starts, speak to this machine only. Raises ConfigError where the environment
    has one of the connections `names` that leads elsewhere: whoever has it might take this for the real thing."""
    os.environ.setdefault(THIS_MACHINE_ONLY, who)
    for name in names:
        if text := os.environ.get(variable(name), "").strip():
            refuse_other_machines(parse(name, text))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _broken(name: str, what: str) -> ConfigError:
    return ConfigError(f"The connection {name} {what}.", do=f"Correct {variable(name)}.", system=name)
