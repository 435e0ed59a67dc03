"""The settings files of `include/config`: what an analyst or engineer edits, read once and checked.

In: YAML files. Out: typed, immutable settings. Never: a secret (those live in connections).
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from crossdock.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]


def config_dir() -> Path:
    """`include/config`, or what CROSSDOCK_CONFIG_DIR names."""
    return Path(os.environ.get("CROSSDOCK_CONFIG_DIR") or PROJECT / "include" / "config")


def run_dir() -> Path:
    """Where an installation on one machine keeps its state: `.run`, or what CROSSDOCK_RUN_DIR names."""
    return Path(os.environ.get("CROSSDOCK_RUN_DIR") or PROJECT / ".run")


@dataclass(frozen=True)
class FlowSettings:
    """`flows.yaml`, one flow."""

    start: datetime | None
    sweep_days: int
    reject_share: float
    reject_at_least: int
    stale_minutes: int
    silent_at_least_hours: int
    undelivered_minutes: int
    dead_letters_alert: int

    @property
    def sweep(self) -> timedelta:
        return timedelta(days=self.sweep_days)


@dataclass(frozen=True)
class Intake:
    """`intake.yaml`: what is too large, too deep or too far ahead to be taken as it is."""

    record_bytes: int
    record_depth: int
    key_bytes: int
    answer_bytes: int
    file_bytes: int
    clock_minutes: int

    @property
    def clock(self) -> timedelta:
        return timedelta(minutes=self.clock_minutes)


MOST = {"record_depth": 500, "key_bytes": 1_000}  # what parsers, and indexes of the database, can hold


@cache
def intake() -> Intake:
    """The limits of what comes from outside. Raises ConfigError for a value that is none."""
    content = read_yaml("intake.yaml")
    expected = [f.name for f in fields(Intake)]
    if sorted(content) != sorted(expected):
        raise ConfigError(
            f"include/config/intake.yaml has {', '.join(map(str, content))}.",
            do=f"It needs exactly: {', '.join(expected)}.",
        )
    for name, value in content.items():
        most = MOST.get(name, 10**12)
        if type(value) is not int or not 0 < value <= most:
            raise ConfigError(
                f"include/config/intake.yaml: {name} is {value!r}.", do=f"Set a whole number from 1 to {most:,}."
            )
    return Intake(**content)


@cache
def flow(name: str) -> FlowSettings:
    """The settings of a flow: the defaults, and what the file says of it."""
    content = read_yaml("flows.yaml")
    values: dict[str, Any] = {**content.get("defaults", {}), **(content.get(name) or {})}
    expected = [f.name for f in fields(FlowSettings)]
    for key in values:
        if key not in expected:
            near = difflib.get_close_matches(key, expected, n=1)
            raise ConfigError(
                f"include/config/flows.yaml: {name} has no setting {key!r}.",
                do=f"Did you mean {near[0]}?" if near else f"The settings are: {', '.join(expected)}.",
            )
    missing = [key for key in expected if key not in values]
    if missing:
        raise ConfigError(f"include/config/flows.yaml: {', '.join(missing)} not set.", do="Set it under defaults.")
    start = values["start"]
    if start is not None and not isinstance(start, datetime):
        start = datetime.fromisoformat(str(start))
    values["start"] = start.replace(tzinfo=start.tzinfo or UTC) if start else None
    return FlowSettings(**values)


def read_yaml(name: str) -> dict[str, Any]:
    """A settings file as a mapping. Raises ConfigError naming file and line."""
    path = config_dir() / name
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing.", do="Restore it, or correct CROSSDOCK_CONFIG_DIR.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"include/config/{name}{where}: {getattr(error, 'problem', error)}",
            do="Correct the file; nothing was done.",
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"include/config/{name} is not a mapping.", do="See the file in the repository for its shape."
        )
    return content
