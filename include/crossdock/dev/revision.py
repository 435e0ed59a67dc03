"""Migrations that are made, not written: what the tables in the code have and the migrations do not.

In: the mappings, the tables, the migrations so far; a Postgres server. Out: the registry of columns anew, and one
migration, formatted, numbered behind the last one. Never: a change of a database that anybody uses; a second head.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.mapping import columns, language
from crossdock.settings import PROJECT
from crossdock.store import database, registry

_SCRATCH = "crossdock_revision"  # a database of its own, made and dropped here
_READER = (
    "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN "
    "GRANT SELECT ON {tables} TO crossdock_reader; END IF; END $$"
)

# lz4 halves the cost of storing payloads, where the server was built with it.
_COMPRESSED = (
    "DO $$ BEGIN IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' "
    "AND 'lz4' = ANY (enumvals)) THEN ALTER TABLE {table} ALTER COLUMN payload SET COMPRESSION lz4; END IF; END $$"
)


def revise(server: str, message: str) -> Path | None:
    """Writes the migration that is missing; None where none is. `server`: a URL on whose server a scratch database may
    be made. Raises ConfigError for a mapping that cannot be read, and with Alembic's words for what it cannot make."""
    _refuse(message)
    register()
    # In a process of its own, for tables are made of the registry when they are imported.
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "crossdock.dev.revision", server, message],
        capture_output=True, text=True, check=False, cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word was said"]
        raise ConfigError(f"The migration cannot be made: {words[-1]}", do="Correct the tables or mappings it names.")
    return Path(done.stdout.strip()) if done.stdout.strip() else None


def register() -> None:
    """Brings the registry of columns to what the mappings of stage tables say."""
    importlib.invalidate_caches()
    flows.all_flows()  # whose packages make tables of their own
    names = {table.info["mapping"] for table in registry.metadata.tables.values() if "mapping" in table.info}
    columns.write({name: columns.derived(language.read(language.mappings_folder() / f"{name}.yaml")) for name in names})


def _refuse(message: str) -> None:
    if not re.search(r"[A-Za-z]", message) or '"' in message or "\\" in message or len(message) > 100:
        raise ConfigError(
            "The message of a migration is a sentence of at most 100 characters, without quotes.",
            do='Say what it brings: crossdock db revision -m "Holds of TIMS on their way to the channel".',
        )


# ---- in a process of its own -----------------------------------------------------------------------------------------


def _write(server: str, message: str) -> Path | None:
    """The path of the migration; None where the tables are as the migrations make them."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    flows.all_flows()
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    newest = ScriptDirectory.from_config(config).get_current_head() or "0"
    with _scratch(server) as url:
        database.migrate(url)
        config.attributes["engine"] = engine = database.engine(url, role=None)
        try:
            with redirect_stdout(io.StringIO()):  # Alembic says where it writes; so does the caller
                made = command.revision(
                config, _sentence(message), autogenerate=True, rev_id=f"{int(newest) + 1:04}",
                process_revision_directives=_complete,
            )  # fmt: skip
        finally:
            engine.dispose()
    if not made or isinstance(made, list):
        return None
    path = Path(made.path)
    path.write_text(_tidy(path.read_text(encoding="utf-8")), encoding="utf-8")
    for words in ("format", "check --fix", "format"):
        command_line = [sys.executable, "-m", "ruff", *words.split(), "--quiet", str(path)]
        subprocess.run(command_line, check=True, cwd=PROJECT, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    return path


@contextmanager
def _scratch(server: str) -> Iterator[str]:
    admin = database.engine(server, role=None).execution_options(isolation_level="AUTOCOMMIT")
    name = f"{_SCRATCH}_{os.getpid()}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


def _complete(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Drops an empty migration, and adds what people may read of new tables and how new raw tables are compressed. The
    loader's grants are the default."""
    from alembic.operations.ops import CreateTableOp, ExecuteSQLOp

    upgrade = directives[0].upgrade_ops
    if upgrade.is_empty():
        directives.clear()
        return
    new = [one for one in upgrade.ops if isinstance(one, CreateTableOp)]
    readable = [f"{one.schema}.{one.table_name}" for one in new if one.info.get("readable")]
    for one in new:
        one.info = {}
    if readable:
        upgrade.ops.append(ExecuteSQLOp(_READER.format(tables=", ".join(readable))))
    raw = [f"{one.schema}.{one.table_name}" for one in new if one.schema == "raw"]
    upgrade.ops.extend(ExecuteSQLOp(_COMPRESSED.format(table=table)) for table in raw)


def _sentence(message: str) -> str:
    return message.rstrip(".") + "."


def _tidy(text: str) -> str:
    """Removes Alembic's remarks."""
    return re.sub(r"\n *# ### [^\n]*", "", text)


if __name__ == "__main__":
    try:
        written = _write(*sys.argv[1:])
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        raise SystemExit(1) from error
    print(written or "")
