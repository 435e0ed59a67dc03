"""Comments and docstrings are plain: what a program can hold of that."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("include/crossdock", "include/sandbox", "plugins", "dags")
FILES = [path for root in ROOTS for path in sorted((PROJECT / root).rglob("*.py")) if "migrations" not in path.parts]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Words of the code's own that were given up for the field's (test_names.py holds the identifiers).
GIVEN_UP = re.compile(r"\b(walk|walks|walked|walking|bury|buries|buried|misfits?|astray|twofold)\b", re.IGNORECASE)


@lru_cache(maxsize=1)
def docstrings(source: str) -> list[tuple[int, str]]:
    documented = (node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED))
    return [(node.body[0].lineno, text) for node in documented if (text := ast.get_docstring(node))]


def comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def too_strong(source: str) -> list[int]:
    """Lines of docstrings that say `never` more than once: each promise is one line of the module's."""
    return [line for line, text in docstrings(source) if len(re.findall(r"\bnever\b", text, re.IGNORECASE)) > 1]


def given_up(source: str) -> list[tuple[int, str]]:
    texts = [*docstrings(source)]
    if GIVEN_UP.search(source):  # to split a file into tokens takes long, and a comment is as it is written
        texts += comments(source)
    return sorted((line, found.group()) for line, text in texts for found in GIVEN_UP.finditer(text))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_prose_is_plain(path: Path) -> None:
    source = path.read_text("utf-8")
    assert too_strong(source) == []
    assert given_up(source) == []


def test_what_is_not_plain_is_found() -> None:
    source = '"""Never a, never b."""\nx = 1  # the walk of a flow\ndef f():\n    """Never once."""\n'
    assert too_strong(source) == [1]
    assert given_up(source) == [(2, "walk")]


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name.partition("-")[0] for path in (PROJECT / "docs" / "decisions").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))
