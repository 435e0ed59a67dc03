"""The database's faults as the library's typed errors: one sentence of what happened, one of what to do.

In: whatever SQLAlchemy or psycopg2 raise. Out: Transient for what passes (a restart, a cut, a full disk, too many
connections), ConfigError for what a person must mend (address, password, rights, tables), CrossdockError for a fault of
the program. Never: a value of a row in a message, for they are logged; "nothing was written" where that is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy.exc import SQLAlchemyError, TimeoutError

from crossdock.errors import ConfigError, CrossdockError, Transient

SYSTEM = "postgres"
NUL = "NUL (0x00)"
RAISED = (SQLAlchemyError, psycopg2.Error)
RERUN_ADVICE = "then run this again: what was under way is looked up first, and nothing is delivered twice."
ADDRESS = "AIRFLOW_CONN_CROSSDOCK"

# SQLSTATE, or the beginning of one -> what happened, and what to do before it is run again. The longest match counts.
PASSING = {
    "53100": ("has no room left on its disk", "Make room on the database's disk,"),
    "53200": ("has no memory left", "Give the database's server more memory, or let fewer tasks work at once,"),
    "53300": ("takes no more connections", "End idle sessions, let fewer tasks work at once or raise max_connections,"),
    "53": ("is out of a resource", "Look at the database server's log,"),
    "25006": ("takes no changes now", "Point AIRFLOW_CONN_CROSSDOCK to the server that may be written to,"),
    "57014": ("ended a statement", "Look for what holds it up (pg_stat_activity), or raise statement_timeout,"),
    "57": ("ended the connection", "Wait until the database answers,"),
    "08": ("lost the connection", "Wait until the database answers,"),
    "25P": ("ended a transaction that was idle", "Look for what it waited for,"),
    "40": ("set a transaction back because of another one", "Wait a moment,"),
    "55": ("has a row or a table in use", "Wait for the run that holds it,"),
    "58": ("could not read or write its files", "Look at the database server's log and its disk,"),
    "XX": ("failed", "Look at the database server's log,"),
}
MIGRATE = "Run `crossdock db migrate` with a login that may change tables, then this again."
WRONG = {
    "28": ("refuses the login", f"Correct user and password in {ADDRESS}."),
    "3D": ("is not on that server", f"Correct the database's name in {ADDRESS}, or create it."),
    "42501": ("does not let this login do what was asked", MIGRATE),
    "42P01": ("lacks a table: it is of another version", MIGRATE),
    "42703": ("lacks a column: it is of another version", MIGRATE),
    "42883": ("lacks a function: it is of another version", MIGRATE),
    "3F": ("lacks a schema: it is of another version", MIGRATE),
}
# A refused connection has no SQLSTATE, only words.
REFUSED = {
    r"authentication failed|no password supplied|pg_hba\.conf|role \".*\" does not exist|not permitted to log in": "28",
    r"database \".*\" does not exist": "3D",
    r"too many (clients|connections)|remaining connection slots": "53300",
    r"starting up|shutting down|recovery mode": "57P03",
    r"No space left": "53100",
}
NOT_POSTGRES = re.compile(
    r"received invalid response|unsupported frontend protocol|invalid connection option|invalid dsn"
    r"|invalid port number|invalid integer value|invalid \S+ value|does not support SSL|could not parse"
)


@contextmanager
def typed_errors() -> Iterator[None]:
    """What the database raises within leaves as a typed error, with its place but without the rows it names."""
    try:
        yield
    except RAISED as error:
        raise typed(error).with_traceback(error.__traceback__) from None
    except UnicodeEncodeError:
        raise ConfigError(
            "A value holds half a character (a lone surrogate), which no record can hold.",
            do="Leave that character out.",
        ) from None
    except ValueError as error:  # psycopg2 sends no text with it, for PostgreSQL can keep none
        if NUL not in str(error):
            raise
        raise ConfigError(
            "A value holds the character NUL (U+0000), which no record can hold.", do="Leave that character out."
        ) from None


def typed(error: BaseException) -> CrossdockError:
    """The typed error for what SQLAlchemy or psycopg2 raised."""
    cause = _cause(error)
    code = state(error)
    words = _words(cause)
    for table, kind in ((WRONG, ConfigError), (PASSING, Transient)):
        if found := next((table[code[:n]] for n in (5, 3, 2) if code[:n] in table), None):
            stated, do = found
            text = f"The Crossdock database {stated}: {words}."
            return kind(text, do=do if kind is ConfigError else f"{do} {RERUN_ADVICE}", system=SYSTEM)
    if not code and NOT_POSTGRES.search(words):
        return ConfigError(
            f"The Crossdock database cannot be reached by its address: {words}.",
            do=f"Correct host, port and options in {ADDRESS}.",
            system=SYSTEM,
        )
    if (not code and isinstance(cause, (psycopg2.OperationalError, psycopg2.InterfaceError, TimeoutError))) or (
        type(cause) is psycopg2.DatabaseError  # the cut of a connection in the middle of an answer
    ):
        return Transient(
            f"The Crossdock database does not answer: {words}.",
            do=f"Start it, or correct {ADDRESS}; {RERUN_ADVICE}",
            system=SYSTEM,
        )
    return CrossdockError(
        f"The Crossdock database refused a statement: {_fact(cause, code)}.",
        do="This is a fault of the program: report it with the log; what was done before it is kept.",
        system=SYSTEM,
    )


def state(error: BaseException) -> str:
    """The SQLSTATE of what began it; "" where the server has said none."""
    cause = _cause(error)
    if code := getattr(cause, "pgcode", None):
        return code
    if not isinstance(cause, psycopg2.OperationalError):
        return ""
    return next((code for pattern, code in REFUSED.items() if re.search(pattern, str(cause))), "")


def _cause(error: BaseException) -> BaseException:
    """What began it: the end of a connection is often followed by a second error, which only says that it is closed."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop(0)
        if one is not None and one not in chain:
            chain.append(one)
            todo += [getattr(one, "orig", None), one.__cause__, one.__context__]
    mentions = [one for one in chain if isinstance(one, psycopg2.Error)]
    own = next((one for one in mentions if one.pgcode), None)
    return own or next(iter(mentions), error)


def _words(cause: BaseException) -> str:
    """The first line of what the server or the driver said; it names no value, unlike those below it."""
    lines = str(cause).strip().splitlines()
    return re.sub(r"(FATAL|ERROR|PANIC):\s+", "", lines[0]).rstrip(". ") if lines else type(cause).__name__


def _fact(cause: BaseException, code: str) -> str:
    """What a fault of the program is about, in names only: its words would hold values."""
    if not isinstance(cause, psycopg2.Error):
        return type(cause).__name__
    about: Any = cause.diag
    names = {name: getattr(about, f"{name}_name", None) for name in ("constraint", "table", "column")}
    where = ", ".join(f"{name} {value}" for name, value in names.items() if value)
    return f"{type(cause).__name__} ({code or 'no code'})" + (f", {where}" if where else "")
