"""Ranks where a target field may come from.

In: a target field, a sample of records on both sides (it may be empty), a vocabulary, the lookups. Out: suggestions,
the best first, each with its confidence and its reasons in words. Never: a value of a record in the words; a guess
among equals called certain.

Each candidate has a score: likeness of names, words of the descriptions, codes of the contracts, and the evidence of
the values, which outweighs the others. Confidence is the candidate's share among all candidates of the field and "none
of these"; two that are equally good share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.registry import NamedRule
from crossdock.mapping.suggest import evidence
from crossdock.mapping.suggest.evidence import Agreement, Way
from crossdock.mapping.suggest.sample import Sample, entries, lists
from crossdock.mapping.suggest.words import Vocabulary, leaf
from crossdock.mapping.table import OF_HEAD, target_field, written_by

CERTAIN = 0.9
# What a score is made of; natural logarithms of odds.
NAME, WORDS, CODES, VALUES, AGAINST = 4.5, 0.8, 1.5, 6.5, 5.0
TABLE, LOOSELY, WITHIN = 0.8, 0.8, 0.6  # what evidence counts that is not plain equality
STEP, NEW_TABLE, OF_THE_HEAD = 0.3, 1.2, 0.6
SAME_NAME = 1.5  # to the letter
NONE = 3.2  # "none of these"
USED = 0.7  # another field of the mapping has the source already
CONSTANT, KNOWN_CONSTANT = 3.6, 2.5
ASKED = 0.8  # a language model named it
MOST = 0.995  # nothing is certain


@dataclass(frozen=True)
class Suggestion:
    """One way to fill a target field: a source field (with converters and a lookup), a constant, or a rule's column.

    `source`: a path of the source document; of a line relative to the list `children`, or `head.X`. `convert`:
    converters with their arguments. `table`: pairs for a lookup that nobody has written yet. `complete`: as it stands
    it gives the target's values; otherwise it says where they come from, and a table or a rule must do the rest."""

    target: str
    source: str | None
    confidence: float
    why: tuple[str, ...]
    convert: tuple[tuple[str, Any], ...] = ()
    lookup: str | None = None
    constant: Any = None
    rule: str | None = None
    children: str = ""
    table: tuple[tuple[str, str], ...] = ()
    complete: bool = True
    score: float = field(default=0.0, compare=False)
    seen: bool = field(default=True, compare=False)  # values speak for it, not names alone
    hinted: float = field(default=0.0, compare=False)  # what of the score a language model has added


@dataclass(frozen=True)
class Question:
    """A field to be filled. `path`: of the target's head, or of the lines of its list `list`. `source_list`: the list
    that these lines come from, "" for any. `used`: sources that other fields have. `hints`: source paths that somebody
    else has proposed. `by_name`, `by_value`: what may be looked at."""

    path: str
    list: str = ""
    source_list: str = ""
    used: frozenset[str] = frozenset()
    hints: tuple[str, ...] = ()
    zones: tuple[str, ...] = ("UTC",)
    by_name: bool = True
    by_value: bool = True


def suggest(
    question: Question,
    sample: Sample,
    vocabulary: Vocabulary,
    tables: Mapping[str, Lookup] | None = None,
    rules: Iterable[NamedRule] = (),
    most: int = 5,
) -> list[Suggestion]:
    """The best suggestions for a field; see the module. `rules`: those whose columns may be suggested too."""
    document = sample.target_document
    if question.list:
        document = entries(document, question.list)
    target = target_field(document, question.path)
    if target is None:
        return []
    found = list(_sources(question, target, sample, vocabulary, tables or {}))
    found += _constants(question, target, sample, vocabulary)
    if question.by_name:
        found += _rules(question, target, sample, vocabulary, rules)
    return _ranked(found, most)


def _ranked(found: list[Suggestion], most: int) -> list[Suggestion]:
    """The best, with their shares."""
    found.sort(key=lambda one: (-one.score, one.source or "", str(one.constant), one.rule or ""))
    if not found:
        return []
    shares, alone = _shares([one.score for one in found]), _shares([one.score - one.hinted for one in found])
    return [
        replace(one, confidence=round(_confidence(one, share, own), 4))
        for one, share, own in zip(found[:most], shares, alone, strict=False)
    ]


def _confidence(one: Suggestion, share: float, alone: float) -> float:
    """`alone`: the share without what a language model has added. Names alone, or a model, make nothing certain."""
    most = MOST if one.seen else CERTAIN
    return min(most, max(alone, min(share, CERTAIN)) if one.hinted else share)


def _shares(scores: list[float]) -> list[float]:
    highest = max(*scores, NONE)
    whole = math.exp(NONE - highest) + sum(math.exp(score - highest) for score in scores)
    return [math.exp(score - highest) / whole for score in scores]


# ---- source fields ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    path: str  # as a mapping writes it
    full: str  # from the document's root
    field: Field
    children: str
    values: pd.Series | None
    target: Sequence[str | None] | None


def _sources(
    question: Question, target: Field, sample: Sample, vocabulary: Vocabulary, tables: Mapping[str, Lookup]
) -> Iterator[Suggestion]:
    full = f"{question.list}.{question.path}" if question.list else question.path
    for one in _candidates(question, sample):
        ways = list(_ways(one, target, question, tables))
        if not ways:
            continue
        yield max(
            (_scored(question, full, one, target, way, vocabulary, tables) for way in ways), key=lambda made: made.score
        )


def _candidates(question: Question, sample: Sample) -> Iterator[_Candidate]:
    source = sample.source_document
    with_values = question.by_value and len(sample) > 0
    if not question.list:
        has = with_values and question.path in sample.target
        texts = evidence.written(sample.target[question.path]) if has else None
        for path, one in source.leaves.items():
            yield _Candidate(path, path, one, "", sample.source[path] if has else None, texts)
        return
    for name in [question.source_list] if question.source_list else lists(source):
        lines = sample.lines(name, question.list) if with_values else None
        texts = evidence.written(lines.target[question.path]) if lines and len(lines.row) else None
        for path, one in entries(source, name).leaves.items():
            column = lines.source[path] if lines and texts is not None else None
            yield _Candidate(path, f"{name}.{path}", one, name, column, texts)
    rows, columns = sample.target_lines(question.list)
    texts = evidence.written(columns[question.path]) if with_values and len(rows) else None
    for path, one in source.leaves.items():
        column = sample.source[path].take(rows).reset_index(drop=True) if texts is not None else None
        yield _Candidate(OF_HEAD + path, path, one, "", column, texts)


def _ways(one: _Candidate, target: Field, question: Question, tables: Mapping[str, Lookup]) -> Iterator[Way]:
    source = evidence.kind(one.field)
    takes_lookup = source in ("text", "integer") and not target.money and target.type in ("text", "date", "moment")
    if one.values is None or one.target is None:
        yield from _ways_by_contract(one, source, target, question, tables, takes_lookup)
        return
    texts = evidence.written(one.values)
    straight = evidence.agreement(texts, one.target)
    loosely = (
        evidence.agreement(evidence.loose(texts), evidence.loose(one.target)) if target.type == "text" else straight
    )
    # Converters of text change its writing only: where that does not bring the values together, none is tried.
    near = source != "text" or target.type != "text" or loosely.share > 0.1
    for chain in evidence.chains(source, target, question.zones):
        if not chain:
            yield Way(straight)
        elif near:
            yield Way(evidence.agreement(evidence.written(evidence.convert(one.values, chain)), one.target), chain)
    if target.type == "text" and not target.money and source in ("text", "integer"):
        chain = (("to text", None),) if source == "integer" else ()
        if loosely.share > straight.share + 0.02:
            yield Way(loosely, chain, loosely=True)
        elif (before := evidence.start(texts, one.target)) and source == "text":
            yield Way(
                evidence.agreement([None if text is None else before + text for text in texts], one.target),
                (("begin with", before),),
            )
        elif straight.share < 0.5:
            yield Way(evidence.parts(texts, one.target), chain, within=True)
    if takes_lookup:
        for name, table in evidence.lookups_for(texts, one.field.codes, tables):
            for number, column in enumerate(table.columns[1:]):
                turned = evidence.looked_up(texts, table, column)
                yield Way(evidence.agreement(turned, one.target), lookup=f"{name}.{column}" if number else name)
        if made := evidence.table_between(texts, one.target):
            yield Way(made[1], table=made[0])


def _ways_by_contract(
    one: _Candidate, source: str, target: Field, question: Question, tables: Mapping[str, Lookup], takes_lookup: bool
) -> Iterator[Way]:
    """Without values nothing speaks for a converter that the types do not ask for, nor for a lookup but codes."""
    nothing = Agreement(0, 0, 0, 0.0)
    fitting = evidence.fits(source, evidence.kind(target))
    for chain in evidence.chains(source, target, question.zones):
        if not (chain and fitting):
            yield Way(nothing, chain)
    if takes_lookup and one.field.codes and target.codes:
        for name, table in evidence.lookups_for((), one.field.codes, tables):
            for number, column in enumerate(table.columns[1:]):
                yield Way(nothing, lookup=f"{name}.{column}" if number else name)


def _scored(
    question: Question, full: str, one: _Candidate, target: Field, way: Way, vocabulary: Vocabulary,
    tables: Mapping[str, Lookup],
) -> Suggestion:  # fmt: skip
    why: list[str] = []
    score = 0.0
    path = one.full if one.children else one.path.removeprefix(OF_HEAD)
    if question.by_name:
        # Both lines are within a list: what the lists are called tells nothing of the field.
        source_name, target_name = (one.path, question.path) if one.children else (path, question.path)
        likeness = vocabulary.likeness(source_name, target_name)
        same = leaf(source_name).lower() == leaf(target_name).lower()
        score += NAME * likeness + SAME_NAME * (likeness == 1.0)
        if same:
            why.append("the names are the same" if source_name == target_name else "both are named alike at the end")
        elif (leaf(source_name), leaf(target_name)) in vocabulary.joined:
            why.append("another mapping joins these names")
        elif likeness >= 0.5:
            why.append("the names are alike")
        described = vocabulary.telling(one.field.description, target.description)
        score += WORDS * described
        if described >= 0.6:
            why.append("the contracts describe them alike")
    table = tables.get((way.lookup or "").partition(".")[0])
    column = (way.lookup or "").partition(".")[2] or (table.columns[1] if table else "")
    if table is not None or not way.convert:
        fit = evidence.code_fit(one.field.codes, target, table, column)
        score += CODES * fit
        if fit >= 0.8 and len(target.codes) > 1:
            why.append(
                f"the lookup {way.lookup} turns its codes into the target's" if table else "their codes are the same"
            )
    found = way.agreement
    if found.rows:
        beyond = found.weight * (TABLE if way.table else LOOSELY if way.loosely else WITHIN if way.within else 1.0)
        score += VALUES * beyond - AGAINST * found.against * (1 - found.beyond_chance)
        if not (way.table or way.loosely or way.within) and found.share > 0.999 and found.rows >= 5:
            score += 1.0 * found.covered
        why.insert(0, _in_words(found, way))
    elif found.given >= 5:
        score -= AGAINST  # the target has values, the source none in these records
        why.append("none of the records looked at has a value there")
    if one.path.startswith(OF_HEAD):
        score -= OF_THE_HEAD
    score -= STEP * len(way.convert) + (STEP if way.lookup else 0.0) + (NEW_TABLE if way.table else 0.0)
    if one.path in question.used:
        score -= USED
        why.append("another field of this mapping has it already")
    hint = 0.0
    if one.path in question.hints:
        # Heard where the values agree, or where there are none: a model that is wrong moves nothing against them.
        agrees = found.weight >= 0.5 and not (way.table or way.within)
        heard = agrees or (not found.given and question.by_name and score > 1)
        hint = ASKED if heard else 0.0
        if heard:
            why.append("the language model names it too")
    for name, argument in way.convert:
        why.append(f"after the converter “{name}”" if argument is None else f"after the converter “{name}” {argument}")
    return Suggestion(
        target=question.path, source=one.path, confidence=0.0, why=tuple(why), convert=way.convert, lookup=way.lookup,
        children=one.children, table=tuple(sorted((way.table or {}).items())),
        complete=not (way.table or way.loosely or way.within), score=score + hint, hinted=hint,
        seen=found.rows > 0,
    )  # fmt: skip


def _in_words(found: Agreement, way: Way) -> str:
    how = ""
    if way.lookup:
        how = f" after the lookup {way.lookup}"
    elif way.table:
        return (
            f"each of its {len(way.table)} values comes with one value of the target ({found.equal:,} of "
            f"{found.rows:,}): a new lookup would do"
        )
    if way.within:
        return f"it stands within the target's value, {found.equal:,} of {found.rows:,}; a rule must make the rest"
    if way.loosely:
        how = " but for their writing"
    chance = f"; by chance it would be {found.chance:.0%}" if found.chance > 0.3 else ""
    return f"{found.equal:,} of {found.rows:,} values that both sides have are equal{how}{chance}"


# ---- constants and rules ---------------------------------------------------------------------------------------------


def _constants(question: Question, target: Field, sample: Sample, vocabulary: Vocabulary) -> Iterator[Suggestion]:
    """A value that the target always has, and values that other mappings always put into a field of this name."""
    usual = vocabulary.constants.get(leaf(question.path), frozenset()) if question.by_name else frozenset()
    values: list[Any] = []
    if question.by_value and len(sample):
        columns = sample.target_lines(question.list)[1] if question.list else sample.target
        values = columns[question.path].dropna().tolist() if question.path in columns else []
    distinct = set(values)
    if len(distinct) == 1 and len(values) >= 5:
        (value,) = distinct
        telling = not target.money and target.type not in ("moment", "date") and value not in (0, False)
        score = (
            CONSTANT + min(1.0, len(values) / 50) + (KNOWN_CONSTANT if value in usual else 0.0) - (0 if telling else 3)
        )
        why = [f"all {len(values):,} records looked at have the same value there"]
        if value in usual:
            why.append("other mappings to this system always put it there")
        yield Suggestion(question.path, None, 0.0, tuple(why), constant=_plain(value, target), score=score)
    elif not values:
        for value in sorted(usual, key=str):
            if not target.codes or value in target.codes:
                score = CONSTANT + KNOWN_CONSTANT - 0.7 * (len(usual) - 1)
                yield Suggestion(
                    question.path, None, 0.0, ("other mappings to this system always put it there",),
                    constant=value, score=score,
                )  # fmt: skip


def _plain(value: Any, target: Field) -> Any:
    if target.money:
        from crossdock.mapping.frames import written

        return written(int(value))
    if target.type == "boolean":
        return bool(value)
    return int(value) if target.type == "integer" else str(value)


def _rules(
    question: Question, target: Field, sample: Sample, vocabulary: Vocabulary, rules: Iterable[NamedRule]
) -> Iterator[Suggestion]:
    """Columns that rules make, by their names: their values are not known here."""
    every = list(rules)
    runnable = _runnable(every, sample.source_document)
    for rule in every:
        if rule.name not in runnable:
            continue
        for column in written_by(rule, of_line=bool(question.list)):
            likeness = vocabulary.likeness(column, question.path)
            if likeness < 0.6:
                continue
            same = column == question.path
            yield Suggestion(
                question.path, None if same else column, 0.0,
                (f"the rule {rule.name} makes a column {'of this name' if same else 'whose name is alike'} of what "
                 "this source has",),
                rule=rule.name, score=NAME * likeness + (2 * SAME_NAME if same else 0.0),
            )  # fmt: skip


def _runnable(rules: Sequence[NamedRule], source: Document) -> set[str]:
    """The rules whose columns the source has, or other such rules make."""
    there = {"key", "refused", "*", *source.leaves}
    for name in lists(source):
        there |= {f"lines.{path}" for path in entries(source, name).leaves}
    found: set[str] = set()
    grown = True
    while grown:
        grown = False
        for rule in rules:
            if rule.name not in found and set(rule.reads) <= there:
                found.add(rule.name)
                there |= set(rule.writes)
                grown = True
    return found
