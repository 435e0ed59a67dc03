"""SQL is where tools see it: in SQLAlchemy's own statements, or in `.sql` files beside the modules that use them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("include/crossdock", "plugins")
STATEMENT = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|MERGE INTO)\s")
# Asks Airflow's own database, without SQLAlchemy: its import takes longer than the whole check.
ALLOWED = {"plugins/crossdock_airflow/healthy.py"}


def statements(source: str) -> list[int]:
    """Lines where a string begins with a statement."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
    texts = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
    ]
    return sorted(node.lineno for node in texts if STATEMENT.match(node.value))


def modules() -> list[str]:
    found = [path.relative_to(PROJECT) for root in ROOTS for path in sorted((PROJECT / root).rglob("*.py"))]
    return [str(path) for path in found if "migrations" not in path.parts]


@pytest.mark.parametrize("name", modules())
def test_no_string_is_a_statement(name: str) -> None:
    found = statements((PROJECT / name).read_text("utf-8"))
    if name in ALLOWED:
        assert found, f"{name} has none any more: take it off the list."
    else:
        assert found == [], f"{name}: write it with SQLAlchemy, or put it into a .sql file (crossdock/store/sql.py)."


@pytest.mark.parametrize(
    "source",
    [
        '"SELECT 1"',
        'f"""\n  UPDATE {table} SET x = 1"""',
        'x = ("DELETE FROM a "\n "WHERE b")',
        '"WITH a AS (SELECT 1)"',
    ],
)
def test_a_statement_in_a_string_is_seen(source: str) -> None:
    assert statements(source)


@pytest.mark.parametrize("source", ['"Select one"', '"WITHOUT"', '"""Update the rows."""', 'f"{a} SELECT "'])
def test_what_is_no_statement_is_let_pass(source: str) -> None:
    assert statements(source) == []


def test_every_file_is_used() -> None:
    code = "\n".join((PROJECT / name).read_text("utf-8") for name in modules())
    files = [path for root in ROOTS for path in (PROJECT / root).rglob("*.sql")]
    assert files
    assert [path.name for path in files if f'"{path.stem}"' not in code] == []
