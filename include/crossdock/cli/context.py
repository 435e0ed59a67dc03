"""What the commands share: their arguments, and what they work with.

In: words and the environment. Out: a runtime, windows, names; ConfigError for what cannot be meant.
Never: a query, a word on the terminal.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from crossdock import flows
from crossdock.errors import ConfigError, CrossdockError
from crossdock.steps import records

MOST = 1_000_000  # rows that one command shows
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
FlowName = Annotated[str, typer.Argument(help="The flow, e.g. orders.")]
From = Annotated[
    str | None, typer.Option("--from", help="Start of the window, UTC, e.g. 2011-01-04 or 2011-01-04T10:00.")
]
To = Annotated[str | None, typer.Option("--to", help="End of the window, UTC, exclusive.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="One record by its id; repeat for several.")]
Batches = Annotated[
    list[int] | None, typer.Option("--batch", help="Batch id; absent: all unfinished ones of the flow.")
]


def database_url() -> str:
    """The database that the environment names, else the embedded Postgres of this machine."""
    from crossdock.dev import local
    from crossdock.runtime import database_url

    return database_url() or local.database_url("crossdock")


def runtime() -> Any:
    from crossdock.runtime import Runtime

    return Runtime(database_url())


@contextmanager
def database_if_any() -> Iterator[Any]:
    """The engine of the database, with its configuration in force; None where there is none yet: a connection may be
    tried before it."""
    from crossdock.runtime import Runtime

    with ExitStack() as stack:
        try:
            engine = stack.enter_context(Runtime(database_url())).engine
        except CrossdockError:
            engine = None
        yield engine


def window(start: str | None, end: str | None, keys: Sequence[str] | None, compare: bool = False) -> tuple[Any, str]:
    from crossdock.steps.extract import Window

    if sum((bool(keys), bool(start or end), compare)) > 1:
        raise ConfigError("--key, --from/--to and --compare exclude each other.", do="Give one of them.")
    window = Window(moment(start, "--from"), moment(end, "--to"))
    return window, "key" if keys else "backfill" if start or end else "compare" if compare else "scheduled"


def moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text!r} is no date or time.", do="Write it like 2011-01-04T10:00 (UTC)."
        ) from error


def check_flow(name: str | None) -> None:
    """Raises ConfigError for an unknown flow. Look-ups go by the name `reference`."""
    if name is not None and name != records.REFERENCE:
        flows.get(name)


def one_of(value: str, valid: Sequence[str], option: str) -> None:
    if value not in valid:
        raise ConfigError(f"{option} {value!r} is not known.", do=f"There are: {', '.join(valid)}.")


def run_id() -> str:
    return f"cli:{datetime.now(UTC):%Y%m%dT%H%M%S}:{os.getpid()}"


def who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
