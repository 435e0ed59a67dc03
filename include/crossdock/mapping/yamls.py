"""YAML files that people edit, read so that every mistake has a file and a line.

In: a path. Out: nodes, and plain values of them. Never: a stack trace for a missing colon; a date or a float made of
what somebody wrote (`2011-01-04` and `0.10` stay text).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crossdock.errors import ConfigError
from crossdock.mapping.suggest import did_you_mean


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a file."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Reader:
    """Opens one file and collects what is wrong with its shape."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[Finding] = []

    def root(self) -> yaml.Node | None:
        """The file's content. Raises ConfigError, one sentence with file and line, where it is no YAML."""
        try:
            return yaml.compose(self.path.read_text("utf-8"), Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigError(
                f"{self.path}:{mark.line + 1 if mark else 1}: this is not YAML: {error.problem or error.context}.",
                do="Look at the indentation, colons and quotes of this line and the one before.",
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{self.path}:1: this is not YAML: {reason}.", do="Save it as UTF-8 text.") from None

    def report(self, node: yaml.Node | None, message: str) -> None:
        self.findings.append(Finding(self.path, line_of(node), message))

    def pairs(self, node: yaml.Node | None, what: str) -> list[tuple[yaml.Node, yaml.Node]]:
        """The `word: value` pairs of a node, each word once."""
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            self.report(node, f"{what} should be `word: value` pairs")
            return []
        seen: set[str] = set()
        kept = []
        for key, value in node.value:
            if key.value in seen:
                self.report(key, f"{key.value!r} stands here a second time")
            else:
                kept.append((key, value))
            seen.add(key.value)
        return kept

    def words(self, node: yaml.Node | None, allowed: tuple[str, ...], what: str) -> dict[str, yaml.Node]:
        """The pairs of a node whose words are `allowed`; others are reported with the nearest right one."""
        found: dict[str, yaml.Node] = {}
        for key, value in self.pairs(node, what):
            if key.value in allowed:
                found[key.value] = value
            else:
                self.report(key, f"{what} has no word {key.value!r}{did_you_mean(key.value, allowed)}")
        return found

    def entries(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        """The entries of a list."""
        if node is None:
            return []
        if isinstance(node, yaml.SequenceNode):
            return node.value
        self.report(node, f"{what} should be a list, each entry beginning with `-`")
        return []

    def text(self, node: yaml.Node | None) -> str:
        value = self.value(node)
        return "" if value is None else " ".join(str(value).split())

    def value(self, node: yaml.Node | None) -> Any:
        return None if node is None else _Construct().construct_document(node)


class _Construct(yaml.constructor.SafeConstructor):
    """Plain values; a date and a number with a point stay the text that was written."""

    yaml_constructors = {  # noqa: RUF012 (the base class has it like this)
        **yaml.constructor.SafeConstructor.yaml_constructors,
        "tag:yaml.org,2002:timestamp": yaml.constructor.SafeConstructor.construct_yaml_str,
        "tag:yaml.org,2002:float": yaml.constructor.SafeConstructor.construct_yaml_str,
    }


def line_of(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node is not None else 1
