"""The draft of a mapping for a document that nobody has mapped.

In: a sample of both documents (it may be empty), a vocabulary, the lookups. Out: YAML text with the reasons of each
line, and what `mapping check` says of it. Never: a file in the configuration; a line that the check refuses; a value of
a record, but constants.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdock.config import Finding
from crossdock.mapping import language
from crossdock.mapping.contracts import Document
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.suggest.ranking import Question, Suggestion, suggest
from crossdock.mapping.suggest.sample import Sample, entries, lists
from crossdock.mapping.suggest.words import Vocabulary, words
from crossdock.settings import config_dir

TAKEN = 0.5  # confidence from which a line is written; below, it is a remark
WORTH_A_WORD = 0.1


@dataclass(frozen=True)
class Draft:
    """`findings`: what `mapping check` still misses, for a person. `taken`: the suggestions that are lines."""

    text: str
    findings: tuple[Finding, ...]
    taken: tuple[Suggestion, ...]


def draft(
    sample: Sample, vocabulary: Vocabulary, tables: Mapping[str, Lookup], zones: tuple[str, ...] = ("UTC",)
) -> Draft:
    """A mapping as far as it goes."""
    source, target = sample.source_document, sample.target_document
    best = {
        path: next(iter(suggest(Question(path, zones=zones), sample, vocabulary, tables, most=1)), None)
        for path in _wanted(target)
    }
    children = _children(sample, vocabulary, tables, zones)
    if children:
        best = {path: one for path, one in best.items() if not path.startswith(f"{children.target}[0].")}
    refused: dict[tuple[str, str], str] = {}
    while True:
        fields = _lines(best, refused, "")
        below = _lines(children.best, refused, children.target) if children else []
        text = _text(source, target, len(sample), fields, children, below)
        found = check(text)
        placed = _places(text)
        more = {placed[one.line]: one.message for one in found if one.line in placed and not _is_gap(one)}
        if not more.keys() - refused.keys():
            taken = tuple(made for made, taken, _ in [*fields, *below] if taken and made)
            return Draft(text, tuple(found), taken)
        refused |= more


def _is_gap(finding: Finding) -> bool:
    """Whether it says that something is not mapped, and not that a line is wrong."""
    return "no field maps it" in finding.message


def check(text: str) -> list[Finding]:
    """What `mapping check` says of a text, beside the lookups that are in force. Files are named `draft.yaml`."""
    with tempfile.TemporaryDirectory(prefix="draft") as scratch:
        folder = Path(scratch)
        (folder / "mappings").mkdir()
        (folder / "lookups").symlink_to(config_dir() / "lookups")
        path = folder / "mappings" / "draft.yaml"
        path.write_text(text)
        return [Finding(Path(path.name), one.line, one.message) for one in language.read(path).check()]


_Line = tuple[Suggestion | None, bool, str]  # the suggestion of a target field, whether it becomes a line, and its path


@dataclass(frozen=True)
class _Children:
    target: str
    source: str
    items: Document
    best: dict[str, Suggestion | None]


def _wanted(target: Document) -> list[str]:
    """The fields of the head; of lists that every document has, those of the first entry."""
    firsts = [
        f"{path}[0].{name}"
        for path in lists(target)
        if target.fields[path].required
        for name in entries(target, path).leaves
    ]
    return [*target.leaves, *firsts]


def _children(
    sample: Sample, vocabulary: Vocabulary, tables: Mapping[str, Lookup], zones: tuple[str, ...]
) -> _Children | None:
    """The pair of lists whose fields fit best; None where none fits."""
    found: list[tuple[float, _Children]] = []
    for target_list in lists(sample.target_document):
        items = entries(sample.target_document, target_list)
        for source_list in lists(sample.source_document):
            best = {
                path: next(
                    iter(
                        suggest(
                            Question(path, target_list, source_list, zones=zones), sample, vocabulary, tables, most=1
                        )
                    ),
                    None,
                )
                for path in items.leaves
            }
            own = [one.confidence for one in best.values() if one and one.children and _is_taken(one)]
            likeness = vocabulary.likeness(source_list, target_list)
            if own and (likeness or sum(own) >= 1):
                found.append((sum(own) + likeness, _Children(target_list, source_list, items, best)))
    return max(found, key=lambda one: one[0])[1] if found else None


def _is_taken(one: Suggestion) -> bool:
    return one.confidence >= TAKEN and one.complete and one.rule is None


def _lines(best: Mapping[str, Suggestion | None], refused: Mapping[tuple[str, str], str], inside: str) -> list[_Line]:
    taken = {path for path, one in best.items() if one and _is_taken(one) and (inside, path) not in refused}
    return [(one, path in taken, path) for path, one in best.items()]


# ---- text ------------------------------------------------------------------------------------------------------------


def _text(
    source: Document,
    target: Document,
    records: int,
    fields: list[_Line],
    children: _Children | None,
    below: list[_Line],
) -> str:
    seen = (
        f"{records:,} records that both sides have"
        if records
        else "names, types and descriptions alone: no record links both"
    )
    made = [
        f"# A draft, made of {seen}. Look at every line before it is published;",
        "# behind # stands how sure it is, and why. What was not sure enough is a remark.",
        f"mapping: {_scalar(f'How {source.name} of {source.system} becomes {target.name} of {target.system}')}",
        f"source: {source.system} {source.name}",
        f"target: {target.system} {target.name}",
        "",
    ]
    made += (
        ["fields:", *_written(fields, "  ")]
        if any(taken for _, taken, _ in fields)
        else ["fields: []", *_written(fields, "")]
    )
    if children and any(taken for _, taken, _ in below):
        made += [
            "", "children:", f"  target: {children.target}", f"  from: {children.source}",
            f"  key: {_key(children, below)}", "  fields:", *_written(below, "    "),
        ]  # fmt: skip
    return "\n".join(made) + "\n"


def _written(lines: Iterable[_Line], indent: str) -> Iterator[str]:
    for one, taken, path in lines:
        if one is None or (not taken and one.confidence < WORTH_A_WORD):
            yield f"{indent}# {path}: nothing resembles it enough"
            continue
        why = f"{one.confidence:.0%}: {'; '.join(one.why) or 'a guess'}".replace("\n", " ")
        if not taken:
            came = f"constant {_scalar(one.constant)}" if one.source is None else f"from {one.source}"
            yield f"{indent}# {path}: perhaps {came} ({why})"
            continue
        yield f"{indent}# {why}"
        yield f"{indent}- target: {_scalar(path)}"
        if one.source is None:
            yield f"{indent}  constant: {_scalar(one.constant)}"
        else:
            yield f"{indent}  from: {_scalar(one.source)}"
        if one.convert:
            yield f"{indent}  convert: {_converters(one.convert)}"
        if one.lookup:
            yield f"{indent}  lookup: {one.lookup}"


def _converters(chain: tuple[tuple[str, Any], ...]) -> str:
    steps = [name if argument is None else f"{{{name}: {_scalar(argument)}}}" for name, argument in chain]
    return steps[0] if len(steps) == 1 else f"[{', '.join(steps)}]"


def _scalar(value: Any) -> str:
    """A value as YAML: yes and no, numbers, and text in quotes where it could be read as something else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    plain = text.replace(".", "").replace("_", "").replace(" ", "")
    if (
        text[:1].isalpha()
        and plain.isalnum()
        and plain.isascii()
        and text.lower() not in _WORDS
        and text == text.strip()
    ):
        return text
    return json.dumps(text, ensure_ascii=True)


_WORDS = frozenset(["yes", "no", "on", "off", "true", "false", "null", "y", "n"])


def _key(children: _Children, below: list[_Line]) -> str:
    """The field that names a line: one that its name calls so, and that the document needs."""
    taken = [path for _, is_line, path in below if is_line]
    named = {"id": 3, "number": 2, "sku": 1}
    return max(
        taken,
        key=lambda path: (
            max((named.get(word, 0) for word in words(path)), default=0),
            children.items.leaves[path].required,
            -taken.index(path),
        ),
    )


def _places(text: str) -> dict[int, tuple[str, str]]:
    """By line of the text: the list and the target path that it is about."""
    found: dict[int, tuple[str, str]] = {}
    inside, path = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        words_ = line.strip()
        if line.startswith("  target: "):
            inside, path = words_.removeprefix("target: "), ""
        elif words_.startswith("- target: "):
            path = json.loads(given) if (given := words_.removeprefix("- target: ")).startswith('"') else given
        if path and not words_.startswith("#"):
            found[number] = (inside, path)
        if not words_:
            path = ""
    return found
