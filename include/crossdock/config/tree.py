"""A tree of configuration files as a value: its texts and its hash, what may be replaced in it, and three-way merges.

In: a folder such as `include/config`; texts by path. Out: a `Tree`, which can be written to another folder; merged
texts. Never: a file outside the folder; a byte changed on the way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from functools import cached_property, lru_cache
from pathlib import Path

from crossdock.config.nodes import Stamp, stamp
from crossdock.config.suggest import did_you_mean

KINDS = (".yaml", ".csv", ".sql", ".json")
MOST_BYTES = 16 * 2**20  # of one file that replaces another
# Why a file comes with the code only.
WITH_THE_CODE = {
    "console.yaml": "it says who may change the others",
    "pools.json": "Airflow takes it over when it is deployed",
    "receiver.yaml": "it says who may write to us",
}
STATEMENTS = "controls/"
MARK = "\ufeff".encode()  # of the byte order, which some editors put first
_NEW = re.compile(r"(mappings|checks)/[a-z0-9_]{1,60}\.yaml|lookups/[a-z0-9_]{1,60}\.csv")
_SHOWN = re.compile(r"[\x20-\x7e]{1,200}")


@dataclass(frozen=True, eq=False)
class Tree:
    """Contents by path relative to the root, such as `lookups/carriers.csv`."""

    files: Mapping[str, bytes]

    @cached_property
    def hashes(self) -> dict[str, str]:
        return {path: digest(content) for path, content in sorted(self.files.items())}

    @cached_property
    def hash(self) -> str:
        """Of all paths and contents; equal trees have equal ones."""
        return digest("\n".join(f"{path}\0{each}" for path, each in self.hashes.items()).encode())

    def replaced(self, files: Mapping[str, bytes | None]) -> Tree:
        """The tree with `files` in the place of its own; None takes one away."""
        made = {**self.files, **files}
        return Tree({path: content for path, content in made.items() if content is not None})

    def write(self, folder: Path) -> None:
        """Writes every file below `folder`, which nobody else may read."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read(folder: Path) -> Tree:
    """The tree in a folder, read again only when one of its files has changed."""
    return _read(folder, tuple(stamp(path) for path in paths(folder)))


@lru_cache(maxsize=8)
def _read(folder: Path, files: tuple[Stamp, ...]) -> Tree:
    return Tree({one.path.relative_to(folder).as_posix(): one.path.read_bytes() for one in files})


def paths(folder: Path) -> list[Path]:
    """The configuration files below a folder; hidden ones and those of editors are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def refused(path: str, valid: Collection[str]) -> str | None:
    """Why a file cannot be replaced or added, as a sentence; None where it can. `valid`: the paths that there are."""
    if not _SHOWN.fullmatch(path):
        return f"{path[:200]!a} is no name of a configuration file; write it like lookups/carriers.csv"
    if path.startswith(("/", "~")) or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
        return f"{path} leads out of the configuration; write it like lookups/carriers.csv"
    if path in WITH_THE_CODE:
        return f"{path} comes with the code only: {WITH_THE_CODE[path]}"
    if path.startswith(STATEMENTS):
        return f"{path} comes with the code only: it is a statement that the database runs"
    if path in valid or _NEW.fullmatch(path):
        return None
    return f"nothing reads a file {path}{did_you_mean(path, valid)}"


def text(path: str, content: str) -> bytes:
    """The bytes of a file that somebody gives as text. Raises ValueError, as a sentence, for what no file can hold."""
    try:
        made = content.encode()
    except UnicodeEncodeError as error:
        line = content.count("\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: this is not UTF-8: half a character (a lone surrogate) stands here") from None
    return validated(path, made)


def validated(path: str, content: bytes) -> bytes:
    """A file's bytes. Raises ValueError, as a sentence, where they are too many or no text."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} has {len(content):,} bytes, {MOST_BYTES:,} are allowed")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise ValueError(f"{path}:{line}: the character U+0000 stands here, which no text can hold")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: this is not UTF-8: the byte {content[error.start]:#04x}") from None
    return content


def bare(content: bytes) -> bytes:
    """A file's bytes without what a checkout or an editor may put in or leave out: the mark at its beginning, and the
    kind of its line ends."""
    return content.removeprefix(MARK).replace(b"\r\n", b"\n")


def difference(path: str, before: str | None, after: str | None, names: tuple[str, str] = ("before", "after")) -> str:
    """Two texts of a file in the form of `diff -u`; None: there is no such file."""
    old = f"{names[0]}/{path}" if before is not None else "/dev/null"
    new = f"{names[1]}/{path}" if after is not None else "/dev/null"
    made = []
    for line in unified_diff(_lines(before or ""), _lines(after or ""), old, new):
        made.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(made)


@dataclass(frozen=True)
class Merged:
    """Two changes of one text put together. `text` has both sides between marks where they `conflict`."""

    text: str
    conflict: bool


def merge(old: str, new: str, ours: str) -> Merged:
    """What `new` has made of `old` and what `ours` has made of it, line by line. Line ends of another kind, and a mark
    of the byte order, are kept as ours has them: they change no line."""
    from merge3 import Merge3

    mark = MARK.decode()
    if ours.startswith(mark) and not old.startswith(mark):
        made = merge(old, new, ours.removeprefix(mark))
        return Merged(mark + made.text, made.conflict)
    if _ends(ours) == "\r\n" and _ends(old) == _ends(new) == "\n":
        made = merge(old, new, ours.replace("\r\n", "\n"))
        return Merged(made.text.replace("\n", "\r\n"), made.conflict)
    together = Merge3(_lines(old), _lines(ours), _lines(new))
    if all(region[0] != "conflict" for region in together.merge_regions()):
        return Merged("".join(together.merge_lines()), False)
    before, own, theirs = (_lines(text if text.endswith("\n") else f"{text}\n") for text in (old, ours, new))
    return Merged("".join(Merge3(before, own, theirs).merge_lines("published", "shipped")), True)


def _ends(text: str) -> str:
    """How all lines of a text end; "" where some end otherwise than others, or none does."""
    all_, windows = text.count("\n"), text.count("\r\n")
    return "" if not all_ or 0 < windows < all_ or text.count("\r") > windows else "\r\n" if windows else "\n"


def _lines(text: str) -> list[str]:
    """Lines with their ends; only U+000A ends one, so that a text is put together again as it was."""
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
