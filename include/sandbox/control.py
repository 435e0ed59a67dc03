"""Calls the controls of the two servers.

In: what a person or a test wants done to the sandbox. Out: calls of `/_sandbox/...` on this machine, and their answers.
Never: the systems' own APIs; a change of anything but the sandbox.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import requests

from crossdock.errors import ConfigError
from sandbox.world import CHANNEL_ADVISOR, TIMS, text

SYSTEMS = (CHANNEL_ADVISOR, TIMS)
PORTS = {CHANNEL_ADVISOR: ("CROSSDOCK_CA_PORT", 8601), TIMS: ("CROSSDOCK_TIMS_PORT", 8602)}
BATCH = 200  # events per call; an order of 500 lines has 200 kB
_encode = msgspec.json.Encoder(decimal_format="number").encode


class SandboxError(ConfigError):
    """The sandbox does not run, or does not do what was asked of it."""


def port(system: str) -> int:
    name, usual = PORTS[system]
    given = os.environ.get(name) or str(usual)
    if not given.isdigit() or not 0 < int(given) < 65536:
        raise SandboxError(f"{name} is {given!r}, which is no port.", do="Set it to a number from 1 to 65535.")
    return int(given)


@dataclass
class Control:
    """The controls of one system; keeps one connection."""

    system: str
    url: str

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between a machine and itself

    @classmethod
    def of(cls, system: str) -> Control:
        return cls(system, f"http://127.0.0.1:{port(system)}")

    def call(self, method: str, path: str, body: Any = None, *, seconds: float = 120, number: Any = float) -> Any:
        """The decoded answer, its numbers with a point as `number`. SandboxError when nobody answers, or the answer is
        a refusal."""
        try:
            answer = self._session.request(
                method,
                f"{self.url}/_sandbox/{path}",
                data=None if body is None else _encode(body),
                headers={"Content-Type": "application/json"},
                timeout=(3, seconds),
            )
        except requests.RequestException as error:
            raise SandboxError(
                f"The {self.system} sandbox does not answer at {self.url} ({type(error).__name__}).",
                do="Start it with `crossdock sandbox up`.",
            ) from error
        try:
            reported = msgspec.json.Decoder(float_hook=number).decode(answer.content)
        except ValueError:
            reported = {}
        if answer.status_code != 200:
            reason = reported.get("error") if isinstance(reported, dict) else None
            raise SandboxError(
                f"The {self.system} sandbox refuses {method} {path}: {reason or answer.status_code}.",
                do="See its log in .run/logs.",
            )
        return reported

    def is_healthy(self) -> bool:
        try:
            return self.call("GET", "health", seconds=5).get("system") == self.system
        except (SandboxError, AttributeError):
            return False

    def now(self) -> datetime:
        return moment(self.call("GET", "clock")["now"])

    def set_clock(self, now: datetime) -> None:
        self.call("PUT", "clock", {"now": text(now)})

    def documents(self, kind: str, since: datetime | None = None, **where: list[Any]) -> list[dict[str, Any]]:
        """What the system holds of a kind, oldest change first, amounts exact."""
        reported = {"kind": kind, "where": where, "since": since and text(since)}
        return self.call("POST", "documents", reported, number=Decimal)["documents"]

    def apply(self, events: Iterable[dict[str, Any]]) -> int:
        """Tell the system what happened, in batches. Returns how many events."""
        reported = 0
        for batch in _batches(events, BATCH):
            reported += self.call("POST", "apply", {"events": batch})["applied"]
        return reported

    def act(self, operations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Do what people do at the system's own screens, in batches. A result for each operation."""
        return [
            result
            for batch in _batches(operations, BATCH)
            for result in self.call("POST", "act", {"operations": batch})["results"]
        ]

    def serve(self, dialects: Sequence[str]) -> None:
        """Has the channel's server answer in these dialects (v1, v2) and in no other."""
        self.call("PUT", "dialects", {"serve": list(dialects)})


def _batches(events: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    rest = iter(events)
    while batch := list(islice(rest, size)):
        yield batch


def controls() -> dict[str, Control]:
    return {system: Control.of(system) for system in SYSTEMS}


def moment(written: str) -> datetime:
    """A server's time; more than microseconds are cut."""
    whole, _, fraction = written.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC, microsecond=int(fraction[:6].ljust(6, "0") or 0))
