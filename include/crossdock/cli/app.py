"""The command `crossdock`: its topics put together, and what went wrong in words.

In: the words of a command line. Out: exit code 0 only when all went well. Never: a traceback for something that a
person can mend.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.text import Text

from crossdock.cli import (
    catalog,
    close,
    config,
    connect,
    customers,
    database,
    dead_letters,
    events,
    go_live,
    mappings,
    new_flow,
    prices,
    receive,
    reconcile,
    status,
    survey,
    sync,
    watermarks,
)
from crossdock.cli.output import err, print_json
from crossdock.errors import AuthError, BatchStopped, ConfigError, CrossdockError, Transient
from crossdock.safe import Formatter, safe
from crossdock.store import faults

COMMANDS = "crossdock.commands"  # entry points by which other packages add commands: a name and its typer app
EXIT_CODES = {ConfigError: 2, AuthError: 3, Transient: 4, BatchStopped: 5}
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Keeps Channel Advisor and TIMS in step.",
)


for topic in (connect, survey, sync, status, close, reconcile, go_live, receive, new_flow):
    app.add_typer(topic.app)
for name, topic in {
    "dead-letters": dead_letters, "prices": prices, "db": database, "mapping": mappings, "customers": customers,
    "watermark": watermarks, "catalog": catalog, "config": config, "events": events,
}.items():  # fmt: skip
    app.add_typer(topic.app, name=name)


@app.callback()
def _verbose(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is being done.")] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


@contextmanager
def clear_errors(as_json: bool) -> Any:
    try:
        with faults.typed_errors():
            yield
    except CrossdockError as error:
        logging.getLogger(__name__).info("Where it happened:", exc_info=True)  # with --verbose
        if as_json:
            print_json({"error": type(error).__name__, "message": error.message, "do": error.do})
        else:
            err.print(
                Text.assemble(
                    (type(error).__name__, "bold red"), f": {safe(error.message, lines=isinstance(error, ConfigError))}"
                ),
                soft_wrap=True,
            )
            if error.do:
                err.print(safe(error.do), soft_wrap=True)
        code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
        raise SystemExit(code) from None


def main(run: Callable[[], None] | None = None) -> None:
    """Runs the command and prints what went wrong in words: the entry point."""
    for point in entry_points(group=COMMANDS):
        app.add_typer(point.load(), name=point.name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without arrows still shows the rest
    with clear_errors("--json" in sys.argv):
        _readable(sys.argv)
        (run or app)()


def _readable(words: Sequence[str]) -> None:
    """Refuses characters that no database and no URL can hold."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{word!a} is not UTF-8.", do="Write it in UTF-8; see `locale`.") from None
