"""The connection to Postgres, its migrations, its locks, and bulk in and out by COPY.

In: a URL; frames. Out: an engine that works as the least-privileged role, frames as they were.
Never: row-by-row inserts of bulk data; a float for money.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from psycopg2.errors import ProgramLimitExceeded, StatementTooComplex
from sqlalchemy.dialects.postgresql import Insert, distinct_on, insert

from crossdock.errors import ConfigError, Transient
from crossdock.mapping.jsontext import from_json, to_json
from crossdock.store.faults import typed_errors

LOADER_ROLE = "crossdock_loader"
MONEY_SCALE = 10_000  # frames carry money as whole ten-thousandths; Postgres as numeric(19,4)
MIGRATIONS = Path(__file__).parent / "migrations"


log = logging.getLogger(__name__)

# The server ends the sessions of a dead machine, and with them their locks, after a minute, and those of one that
# stands still within a transaction after the time that the largest batch takes to compute.
_SOON_GONE = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "15min",
}


def engine(url: str, *, role: str | None = LOADER_ROLE) -> sa.Engine:
    """An engine with connections of its own, which act as `role`: the loader can change rows but no table. What was
    compiled for one engine of a process serves the next one to the same database.

    Raises ConfigError where the URL cannot be read.
    """
    first, compiled = _first_engine(url, role, os.getpid())
    return sa.Engine(
        first.pool.recreate(),
        first.dialect,
        first.url,
        hide_parameters=True,  # they hold personal data, and errors are logged
        execution_options={"compiled_cache": compiled},
    )


@lru_cache(maxsize=8)
def _first_engine(url: str, role: str | None, _process: int) -> tuple[sa.Engine, MutableMapping[Any, Any]]:
    """What the engines of one process to one database share: an engine that itself never connects, and what is compiled
    for its dialect. Each costs more than a short run: to ask the server what it is, and to write every statement."""
    try:
        made = sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg2"),
            pool_pre_ping=True,
            connect_args={"application_name": f"crossdock {machine_and_process()}", "connect_timeout": 10},
            hide_parameters=True,
            json_serializer=to_json,
            json_deserializer=from_json,
        )
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigError(
            "The address of the Crossdock database cannot be read.",
            do="Set AIRFLOW_CONN_CROSSDOCK to postgresql://user:password@host:port/database.",
        ) from error
    if role:
        first = [statement.compile(dialect=made.dialect) for statement in _first_statements(role)]

        @sa.event.listens_for(made, "connect")
        def _take_role(connection: Any, _record: Any) -> None:
            with connection.cursor() as cursor:
                for compiled in first:
                    cursor.execute(compiled.string, compiled.params)
            connection.commit()

    return made, sa.util.LRUCache(1_000)


def _first_statements(role: str) -> tuple[sa.Select, sa.Select]:
    """What a new session runs first: it becomes `role`, where its login may, and takes its settings."""
    roles = sa.table("pg_roles", sa.column("rolname"), sa.column("oid"))
    may = roles.c.rolname == role, sa.func.pg_has_role(roles.c.oid, "MEMBER")
    return (
        sa.select(sa.func.set_config("role", roles.c.rolname, False)).where(*may),
        sa.select(*(sa.func.set_config(name, value, False) for name, value in _SOON_GONE.items())),
    )


def is_about_data(error: BaseException) -> bool:
    """Whether a value caused the error: its type, range, length or depth is too much for the database or for Python."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, psycopg2.Error):
        about = (psycopg2.DataError, psycopg2.IntegrityError, ProgramLimitExceeded, StatementTooComplex)
        return isinstance(cause, about)
    return isinstance(cause, (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError))


def explain(error: BaseException) -> str:
    """An error in its first line, without the data."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if isinstance(cause, psycopg2.Error) else type(cause).__name__


def machine_and_process() -> str:
    """This machine and process, as other runs see them; no longer than what Postgres keeps of a name."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}"


def migrate(url: str, revision: str = "head") -> None:
    """Brings the schema to `revision`. Needs a login that may create schemas and roles."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = made = engine(url, role=None)
    try:
        with typed_errors():
            command.upgrade(config, revision)
    finally:
        made.dispose()


@contextlib.contextmanager
def lock(made: sa.Engine, name: str, *, wait: float = 600.0) -> Iterator[None]:
    """Holds the advisory lock `name` for as long as the block runs; a killed process lets go of it by itself.

    Raises Transient when another run still holds it after `wait` seconds.
    """
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        until = time.monotonic() + wait
        while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key_of(name)))):
            if time.monotonic() > until:
                raise Transient(
                    f"Another run has been working on {name} for {wait:.0f} s.",
                    do="Wait for it, or end it in the Airflow UI; this one is tried again by itself.",
                )
            time.sleep(0.2)
        try:
            yield
        finally:
            _unlock(connection, name)


@contextlib.contextmanager
def locks(made: sa.Engine, names: Iterable[str], *, wait: float = 600.0) -> Iterator[None]:
    """Holds the advisory locks of all `names` at once, as `lock` does one. Whoever does not get all of them holds none,
    so that no two wait for each other."""
    wanted = sorted({f"crossdock:{name}" for name in names})
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        until = time.monotonic() + wait
        while True:
            tried = _each(connection, sa.func.pg_try_advisory_lock, wanted)
            missing = [name for name, mine in tried if not mine]
            if not missing:
                break
            _each(connection, sa.func.pg_advisory_unlock, [name for name, mine in tried if mine])
            if time.monotonic() > until:
                raise Transient(
                    f"Another run has been working on {missing[0].removeprefix('crossdock:')} for {wait:.0f} s.",
                    do="Wait for it, or end it in the Airflow UI; this one is tried again by itself.",
                )
            time.sleep(0.2)
        try:
            yield
        finally:
            try:
                _each(connection, sa.func.pg_advisory_unlock, wanted)
            except sa.exc.DBAPIError:
                log.warning("The session that held %d locks has ended, and the locks with it.", len(wanted))


def _each(connection: sa.Connection, function: Callable[..., Any], names: Sequence[str]) -> list[tuple[str, bool]]:
    """Runs a function of locks on each name; the names with what it answers."""
    each = sa.func.unnest(sa.bindparam("names", list(names), type_=sa.ARRAY(sa.Text))).column_valued("name")
    rows = connection.execute(sa.select(each, function(sa.func.hashtextextended(each, 0))))
    return [(name, done) for name, done in rows]


def key_of(name: str) -> sa.ColumnElement[int]:
    """The number of the advisory lock `name`."""
    return sa.func.hashtextextended(f"crossdock:{name}", 0)


def _unlock(connection: sa.Connection, name: str) -> None:
    """Releases the lock. Where its session has ended, so has the lock; the block's own error goes on."""
    try:
        connection.scalar(sa.select(sa.func.pg_advisory_unlock(key_of(name))))
    except sa.exc.DBAPIError:
        log.warning("The session that held the lock %s has ended, and the lock with it.", name)


def now(connection: sa.Connection) -> datetime:
    """When the present transaction began, by the database's clock."""
    return connection.execute(sa.select(sa.func.now())).scalar_one()


# ---- rows by the hundred ---------------------------------------------------------------------------------------------


def given(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> sa.Subquery:
    """`rows`, all with the names of the first one, as something to select from: arrays, whatever their number. What is
    the same in all rows goes once."""
    same = _same(table, rows)
    names = [name for name in rows[0] if name not in same]
    arrays = (  # of one dimension: a list among the values is JSON
        sa.bindparam(n, [row[n] for row in rows], type_=sa.ARRAY(table.c[n].type, dimensions=1), unique=True)
        for n in names
    )
    each = sa.func.unnest(*arrays).table_valued(*(sa.column(n, table.c[n].type) for n in names)).render_derived()
    once = {name: sa.cast(value, table.c[name].type).label(name) for name, value in same.items()}
    return sa.select(*(once[name] if name in same else each.c[name] for name in rows[0])).subquery()


def _same(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The texts and whole numbers that all `rows` have; one column of the rows is left out of it."""
    first, *others = rows
    plain = [name for name in first if isinstance(table.c[name].type, (sa.Text, sa.Integer))]
    found = {name: first[name] for name in plain if all(row[name] == first[name] for row in others)}
    if len(found) == len(first):
        del found[next(iter(found))]
    return found


def insert_all(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> Insert:
    """An INSERT of `rows` in one statement, to which ON CONFLICT may be added. No key may stand in it twice."""
    source = given(table, rows)
    return insert(table).from_select(list(rows[0]), sa.select(source), include_defaults=False)


# ---- frames in and out ---------------------------------------------------------------------------------------------


def _decimals(values: pd.Series) -> pa.Array:
    """Whole ten-thousandths -> decimal128(19, 4), without a detour through Python objects."""
    missing = values.isna().to_numpy()
    whole = values.fillna(0).astype("int64").to_numpy()
    words = np.empty((len(whole), 2), dtype="int64")
    words[:, 0], words[:, 1] = whole, whole >> 63
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes()) if missing.any() else None
    return pa.Array.from_buffers(pa.decimal128(19, 4), len(whole), [validity, pa.py_buffer(words)])


def _ten_thousandths(values: pa.ChunkedArray) -> pd.Series:
    """decimal128(19, 4) -> nullable Int64 of ten-thousandths. Values fit: 15 digits before the point at most."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    words = np.frombuffer(array.buffers()[1], dtype="int64").reshape(-1, 2)
    low = words[array.offset : array.offset + len(array), 0]
    return pd.Series(pd.arrays.IntegerArray(low.copy(), array.is_null().to_numpy(zero_copy_only=False)))


def _arrow(frame: pd.DataFrame, table: sa.Table) -> pa.Table:
    arrays = []
    for name in frame.columns:
        values = frame[name]
        if isinstance(table.c[name].type, sa.Numeric):
            arrays.append(_decimals(values))
        else:
            arrays.append(pa.Array.from_pandas(values))
    # In one chunk: of columns that begin with an empty one (joined frames), pyarrow's CSV writer writes garbage.
    return pa.table(arrays, names=list(frame.columns)).combine_chunks()


def copy_in(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame, *, into: str | None = None) -> None:
    """Appends `frame` to `table` (or to the like-shaped `into`) by COPY. Money columns are whole ten-thousandths."""
    if frame.empty:
        return
    buffer = io.BytesIO()
    pa.csv.write_csv(_arrow(frame, table), buffer, pa.csv.WriteOptions(include_header=False))
    buffer.seek(0)
    columns = ", ".join(f'"{name}"' for name in frame.columns)
    cursor = connection.connection.cursor()
    cursor.copy_expert(f"COPY {into or table.fullname} ({columns}) FROM STDIN (FORMAT csv)", buffer, size=1 << 20)


def replace(connection: sa.Connection, table: sa.Table, frames: Iterable[pd.DataFrame]) -> None:
    """Puts the rows of `frames`, a COPY each, in place of all that `table` holds; of several rows of one key the one
    with the newest `version`."""
    incoming = sa.table("incoming", *(sa.column(column.name) for column in table.c))
    keys = [incoming.c[column.name] for column in table.primary_key]
    connection.exec_driver_sql(f"CREATE TEMP TABLE incoming (LIKE {table.fullname} INCLUDING DEFAULTS) ON COMMIT DROP")
    for frame in frames:
        copy_in(connection, table, frame, into="incoming")
    connection.execute(sa.delete(table))
    newest = sa.select(incoming).ext(distinct_on(*keys)).order_by(*keys, incoming.c.version.desc())
    connection.execute(insert(table).from_select(list(table.c.keys()), newest, include_defaults=False))


_ARROW_TYPES = {
    sa.BigInteger: pa.int64(),
    sa.Integer: pa.int64(),
    sa.Boolean: pa.bool_(),
    sa.Numeric: pa.decimal128(19, 4),
}


class Lines(Protocol):
    """Takes the output of COPY, a row at a time."""

    def write(self, line: bytes, /) -> object: ...


def copy_to(connection: sa.Connection, statement: sa.Select, out: Lines, how: str = "") -> None:
    """Writes the rows of `statement` by COPY. COPY takes no parameters: the driver binds them, as for any other."""
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    cursor = connection.connection.cursor()
    query = cursor.mogrify(compiled.string, compiled.params).decode(connection.connection.encoding)
    cursor.copy_expert(f"COPY ({query}) TO STDOUT {how}", out, size=1 << 20)


def copy_out(connection: sa.Connection, statement: sa.Select) -> pd.DataFrame:
    """The rows of `statement` as a frame: money as Int64 ten-thousandths, text as str, NULL and "" kept apart."""
    buffer = io.BytesIO()
    copy_to(connection, statement, buffer, "(FORMAT csv)")
    names = [column.name for column in statement.selected_columns]
    types = {
        column.name: next((t for kind, t in _ARROW_TYPES.items() if isinstance(column.type, kind)), pa.string())
        for column in statement.selected_columns
    }
    if not buffer.tell():
        table = pa.table({name: pa.array([], types[name]) for name in names})
    else:
        buffer.seek(0)
        table = pa.csv.read_csv(
            buffer,
            pa.csv.ReadOptions(column_names=names),
            pa.csv.ParseOptions(newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    return pd.DataFrame({name: _series(table[name]) for name in names})


def _series(values: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_decimal(values.type):
        return _ten_thousandths(values)
    if pa.types.is_integer(values.type):
        return values.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    if pa.types.is_boolean(values.type):
        return values.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
    return values.to_pandas(types_mapper={pa.string(): pd.StringDtype(na_value=np.nan)}.get)
