"""The rooms: the library stands without Airflow and the sandbox, and the picture of the arrows is the code's."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from crossdock.dev import rooms
from crossdock.settings import PROJECT

IMPORT_ALL = """
import importlib, pathlib, sys
for name in {blocked!r}:
    sys.modules[name] = None  # an import of it is an ImportError
import crossdock
root = pathlib.Path(crossdock.__file__).parent
modules = []
for file in sorted(root.rglob("*.py")):
    name = ".".join(("crossdock", *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
    if name.startswith("crossdock.store.migrations.env"):
        continue  # Alembic's own script: it migrates when it is read
    importlib.import_module(name)
    modules.append(name)
print(len(modules))
"""


def imported(*blocked: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_ALL.format(blocked=blocked)],
        cwd=PROJECT / "include", capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_module_of_the_library_is_imported_with_airflow_glue_console_and_sandbox_blocked() -> None:
    done = imported("airflow", "crossdock_airflow", "console", "sandbox")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


def test_a_blocked_import_would_be_seen() -> None:
    done = imported("sqlalchemy")
    assert done.returncode != 0
    assert "sqlalchemy" in done.stderr


def test_the_page_of_the_rooms_is_the_codes() -> None:
    assert (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8") == rooms.page(), "Run `make docs`."


def test_no_room_of_the_library_leads_to_what_is_around_it() -> None:
    arrows = rooms.read()
    around = set(rooms.AROUND)
    assert around < set(arrows)
    assert {room for room, imported in arrows.items() if imported & around} <= around


@given(st.dictionaries(st.integers(1, 7), st.frozensets(st.integers(1, 7)), max_size=7))
def test_the_picture_leaves_out_no_way(drawn: dict[int, frozenset[int]]) -> None:
    """Of any graph without circles (arrows lead to smaller numbers only)."""
    arrows = {str(n): frozenset(str(to) for to in drawn.get(n, ()) if to < n) for n in range(1, 8)}
    fewer = rooms.shortest(arrows)
    for room in arrows:
        assert rooms.reached(fewer, room) == rooms.reached(arrows, room)
        assert fewer[room] <= arrows[room]


def test_every_room_says_what_it_is() -> None:
    assert {room for room in rooms.read() if not rooms.summary(room)} == set()
