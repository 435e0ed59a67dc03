"""The settings files of `include/config`: what an analyst or engineer edits, read once and checked.

In: YAML files below a root, which is `include/config` unless `using` says otherwise. Out: typed, immutable settings.
Never: a secret (those live in connections); a cached value of another root.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from crossdock import config
from crossdock.config import Struct

DEFAULTS = "defaults"  # stands among the flows of flows.yaml, for all of them
OTHERS = ("reference",)  # has settings there, and is no flow of its own
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Root:
    """The tree of files that is read. `version`: the published one that it holds; None for a draft."""

    folder: Path
    version: int | None = None


_root: ContextVar[Root | None] = ContextVar("settings_root", default=None)


def config_dir() -> Path:
    """The root of the settings files: the one that `using` names, otherwise the shipped one."""
    root = _root.get()
    return root.folder if root else base_dir()


def base_dir() -> Path:
    """The files that ship with the code: `include/config`, or what CROSSDOCK_CONFIG_DIR names."""
    return Path(os.environ.get("CROSSDOCK_CONFIG_DIR") or PROJECT / "include" / "config")


@contextmanager
def using(folder: Path, version: int | None = None) -> Iterator[None]:
    """Reads all settings from `folder` until the block ends: a whole tree such as `include/config`. Holds for this
    thread (or coroutine) and for what it starts in a `crossdock.pool.Pool`; others read what they read before.

    `version`: the number of the published version that the folder holds. A draft has none, and stays in use also where
    a `Runtime` opened within the block would take the version in force."""
    token = _root.set(Root(folder, version))
    try:
        yield
    finally:
        _root.reset(token)


def root() -> Root | None:
    """What `using` names; None where the shipped files are read."""
    return _root.get()


def version() -> int | None:
    """The number of the published version in use; None where no version replaces a shipped file."""
    used = _root.get()
    return used.version or None if used else None


def run_dir() -> Path:
    """Where an installation on one machine keeps its state: `.run`, or what CROSSDOCK_RUN_DIR names."""
    return Path(os.environ.get("CROSSDOCK_RUN_DIR") or PROJECT / ".run")


class FlowSettings(Struct, frozen=True, rename={"live_from": "from"}):
    """`flows.yaml`, one flow. What a flow does not say is said under `defaults`, which says all."""

    mode: Literal["shadow", "live"] = "live"
    live_from: date | None = None  # what is dated before this day is not made
    first_day_cap: Annotated[int, Meta(ge=1)] | None = None  # records after the launch, then a person looks first
    would_be_days: Annotated[int, Meta(ge=1, le=3_650)] = 30  # then personal data of what was not sent go
    start: datetime | None = None  # UTC, where no zone is written
    sweep_days: Annotated[int, Meta(ge=0, le=3_650)] = 0
    reject_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    reject_at_least: Annotated[int, Meta(ge=0)] = 0
    stale_minutes: Annotated[int, Meta(ge=1)] = 1
    silent_at_least_hours: Annotated[int, Meta(ge=0)] = 0
    undelivered_minutes: Annotated[int, Meta(ge=1)] = 1
    dead_letters_alert: Annotated[int, Meta(ge=1)] = 1

    @property
    def sweep(self) -> timedelta:
        return timedelta(days=self.sweep_days)


Size = Annotated[int, Meta(ge=1, le=10**12)]


class Intake(Struct, frozen=True):
    """`intake.yaml`: what is too large, too deep or too far ahead to be taken as it is."""

    record_bytes: Size
    record_depth: Annotated[int, Meta(ge=1, le=500)]  # what parsers can hold
    key_bytes: Annotated[int, Meta(ge=1, le=1_000)]  # what indexes of the database can hold
    answer_bytes: Size
    file_bytes: Size
    clock_minutes: Size

    @property
    def clock(self) -> timedelta:
        return timedelta(minutes=self.clock_minutes)


def intake() -> Intake:
    """The limits of what comes from outside; they are asked for each record, so a root's are read once. Raises
    ConfigError for a value that is none."""
    return _intake(config_dir())


@lru_cache(maxsize=64)
def _intake(folder: Path) -> Intake:
    return config.load(folder / "intake.yaml", Intake)


def read_intake() -> config.File[Intake]:
    return config.read(config_dir() / "intake.yaml", Intake)


Role = Literal["viewer", "clerk", "analyst", "accountant"]


class LargeChange(Struct, frozen=True):
    """From which effect on a change of the configuration asks for a second confirmation: whichever comes first."""

    count: int = 100  # prices, quantities, entries or documents that would change
    percent: int = 5  # of those that were compared


# The documents that have a page in their own system, by that system and their name in its contract.
Linked = Literal[
    "channel_advisor.Order", "channel_advisor.Return", "channel_advisor.Product", "tims.SalesOrder", "tims.Customer",
    "tims.Item", "tims.Shipment", "tims.Invoice", "tims.CreditMemo", "tims.Payment", "tims.Adjustment", "tims.Entry",
]  # fmt: skip
Address = Annotated[
    str,
    Meta(
        pattern=r"^$|^https?://[^\s/?#{}]+[/?#][^\s{}]*\{id\}[^\s{}]*$",
        description="an address such as https://tims.example.com/orders/{id} (http or https, {id} once), or empty",
    ),
]


class Console(Struct, frozen=True):
    """`console.yaml`: who may do what in the console, and where a record is found in the systems' own pages."""

    roles: dict[str, tuple[Role, ...]]  # by the name of a role of Airflow, upper and lower case alike
    people: dict[str, tuple[Role, ...]] = msgspec.field(default_factory=dict)  # by login, on top of what the roles give
    consent: tuple[str, ...] = ()  # files that a second person must agree to, e.g. posting.yaml or lookups/*
    large: LargeChange = LargeChange()
    links: dict[Linked, Address] = msgspec.field(default_factory=dict)  # {id} is the document's number there


def console() -> Console:
    """The console's settings: always the shipped ones, for they say who may change the others. Raises ConfigError."""
    return config.load(base_dir() / "console.yaml", Console)


def read_console() -> config.File[Console]:
    return config.read(config_dir() / "console.yaml", Console)


def flow(name: str) -> FlowSettings:
    """The settings of a flow: the defaults, and what the file says of it. Raises ConfigError."""
    file = read_flows()
    if found := check_flows():
        raise config.refusal(found)
    assert file.value is not None
    own = file.value.get(name, FlowSettings())
    given = {field: getattr(own, field) for field, word in _FLOW_WORDS if file.has(name, word)}
    return msgspec.structs.replace(file.value[DEFAULTS], **given)


# Each setting of a flow, and what flows.yaml calls it.
_FLOW_WORDS = tuple(zip(FlowSettings.__struct_fields__, FlowSettings.__struct_encode_fields__, strict=True))


def read_flows() -> config.File[dict[str, FlowSettings]]:
    return config.read(config_dir() / "flows.yaml", dict[str, FlowSettings])


def check_flows(valid: Collection[str] = ()) -> list[config.Finding]:
    """What is wrong with flows.yaml. `known`: the names that flows have; a setting of another is a mistake."""
    file = read_flows()
    missing = [word for _, word in _FLOW_WORDS if not file.has(DEFAULTS, word)]
    found = [file.finding((DEFAULTS,), f"`{DEFAULTS}` does not say its `{word}`; add it") for word in missing]
    for name in file.value or ():
        if valid and name not in (DEFAULTS, *OTHERS, *valid):
            found.append(file.finding((name,), f"there is no flow {name!r}{config.did_you_mean(name, valid)}"))
    return sorted([*file.findings, *found], key=lambda one: one.line)
