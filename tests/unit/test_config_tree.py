"""A tree of configuration files as a value: hashes, paths that may be replaced, differences, three-way merges."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.config import tree
from crossdock.config.tree import Tree
from crossdock.settings import PROJECT

SHIPPED = tree.read(PROJECT / "include" / "config")
LINES = st.lists(st.text(st.sampled_from("ab,\r\u2028\x0b "), max_size=3), max_size=8)
ENDS = st.sampled_from(["", "\n"])
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + (end if lines else ""), LINES, ENDS)


@given(TEXTS, TEXTS)
def test_a_change_of_one_side_is_taken_as_it_is(old: str, new: str):
    assert tree.merge(old, new, old) == tree.Merged(new, False)
    assert tree.merge(old, old, new) == tree.Merged(new, False)
    assert tree.merge(old, new, new) == tree.Merged(new, False)


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=5, max_size=12, unique=True), st.data())
def test_changes_of_lines_that_are_apart_are_both_taken(lines: list[str], data: st.DataObject):
    first = data.draw(st.integers(0, len(lines) - 3))
    second = data.draw(st.integers(first + 2, len(lines) - 1))

    def with_changes(*at: int) -> str:
        return "".join(f"{'X' if n in at else ''}{line}\n" for n, line in enumerate(lines))

    expected = tree.Merged(with_changes(first, second), False)
    assert tree.merge(with_changes(), with_changes(first), with_changes(second)) == expected
    assert tree.merge(with_changes(), with_changes(second), with_changes(first)) == expected


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8, unique=True), st.data())
def test_different_changes_of_one_line_conflict_and_show_both(lines: list[str], data: st.DataObject):
    at = data.draw(st.integers(0, len(lines) - 1))

    def changed(mark: str) -> str:
        return "".join(f"{mark if n == at else ''}{line}\n" for n, line in enumerate(lines))

    together = tree.merge(changed(""), changed("NEW"), changed("OURS"))
    assert together.conflict
    both = f"<<<<<<< published\nOURS{lines[at]}\n=======\nNEW{lines[at]}\n>>>>>>> shipped\n"
    assert both in together.text


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_line_ends_of_another_kind_and_a_mark_change_no_line(mark: str, ends: str):
    old, new, ours = "a\nb\nc\n", "A\nb\nc\n", mark + "a\nb\nC\n".replace("\n", ends)
    assert tree.merge(old, new, ours) == tree.Merged(mark + "A\nb\nC\n".replace("\n", ends), False)
    assert tree.merge(old, "a\nb\nX\n", ours).conflict


def test_a_conflict_in_a_text_that_ends_without_a_line_feed_can_be_read():
    assert tree.merge("a", "b", "c").text == "<<<<<<< published\nc\n=======\nb\n>>>>>>> shipped\n"


@given(st.text(max_size=30) | st.from_regex(r"(\.\./|/|~|\.|lookups/|mappings//)*[a-z./\\\\]{0,12}", fullmatch=True))
def test_no_path_that_is_taken_leads_out_of_the_tree_or_to_what_comes_with_the_code(path: str):
    if tree.refused(path, SHIPPED.files) is None:
        assert Path("/tree", path).resolve().is_relative_to("/tree")
        assert (Path("/tree") / path).as_posix() == f"/tree/{path}"
        assert path not in tree.WITH_THE_CODE
        assert not path.startswith(tree.STATEMENTS)


def test_what_may_be_replaced_of_the_shipped_files():
    refused = {path for path in SHIPPED.files if tree.refused(path, SHIPPED.files)}
    assert refused == {
        "console.yaml",
        "pools.json",
        "receiver.yaml",
        *(path for path in SHIPPED.files if path.endswith(".sql")),
    }
    for path in ("lookups/new.csv", "mappings/new.yaml", "checks/new.yaml"):
        assert tree.refused(path, SHIPPED.files) is None
    why = tree.refused("carier.csv", SHIPPED.files)
    assert why is not None
    assert why.startswith("nothing reads a file carier.csv")


def test_a_tree_is_written_and_read_as_it_is_and_its_hash_is_of_every_name_and_byte(tmp_path: Path):
    made = SHIPPED.replaced({"lookups/a.csv": b"\xef\xbb\xbfa,b\r\n", "sites.yaml": None})
    made.write(tmp_path / "tree")
    assert tree.read(tmp_path / "tree").files == made.files
    assert tree.read(tmp_path / "tree").hash == made.hash
    (tmp_path / "tree" / ".hidden.yaml").write_text("a: 1")
    (tmp_path / "tree" / "notes.txt").write_text("no configuration")
    (tmp_path / "tree" / ".git").mkdir()
    (tmp_path / "tree" / ".git" / "x.yaml").write_text("a: 1")
    assert tree.read(tmp_path / "tree").files == made.files
    (tmp_path / "tree" / "lookups/a.csv").write_bytes(b"a,b\r\n")
    assert tree.read(tmp_path / "tree").hash != made.hash  # it is read again when a file has changed
    assert Tree({"a": b"bc"}).hash != Tree({"ab": b"c"}).hash
    assert Tree({"a": b"1", "b": b"2"}).hash == Tree({"b": b"2", "a": b"1"}).hash


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (None, "a\n", "--- /dev/null\n+++ after/x\n@@ -0,0 +1 @@\n+a\n"),
        ("a\n", None, "--- before/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"),
        ("a", "a\n", "--- before/x\n+++ after/x\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"),
        ("a\u2028b\n", "a\u2028c\n", "--- before/x\n+++ after/x\n@@ -1 +1 @@\n-a\u2028b\n+a\u2028c\n"),
    ],
)
def test_differences_are_those_of_diff(before: str | None, after: str | None, shown: str):
    assert tree.difference("x", before, after) == shown
