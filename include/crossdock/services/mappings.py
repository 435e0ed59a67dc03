"""A mapping file as a picture, and changes of it: what the canvas shows and saves. It saves the file's own text.

In: the name of a mapping, its text where that is a draft, a change. Out: trees of fields with the lines between them;
the text with the change. Never: a published file changed (publishing is `services/configuration.py`'s); a byte changed
that the person did not ask for.

Paths: a field of a document's lines is named with its list, `OrderItems.SKU`; one inside another list, to which no line
can go, has `[]` in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from crossdock import flows, settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.mapping import describe, editing, language, lookups
from crossdock.mapping.checker import lacking, lines_made, source_type, target_type
from crossdock.mapping.columns import FIELDS, no_place
from crossdock.mapping.columns import LINES as LINES_PART
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.describe import Described
from crossdock.mapping.editing import Part
from crossdock.mapping.language import Mapping as Table
from crossdock.mapping.registry import EVERYTHING, LINES, MADE, named_rules
from crossdock.mapping.table import OF_HEAD, FieldMap, sources_of, target_field, written_by
from crossdock.services.people import Person, Right

FOLDER = "mappings"
SHOWN_FOLDER = "include/config"  # how messages call the folder of a draft


# ---- what is shown -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """One field of a tree. `state`, of a target: mapped, missing (required, and nothing maps it), not_sent, free; of a
    source: used or free. `of_lines`: one of the document's lines. `takes`: whether a line can end here; `hint`: why
    none does, or why it would send nothing."""

    path: str
    name: str
    type: str
    words: str
    required: bool
    description: str
    state: str
    of_lines: bool
    takes: bool
    hint: str = ""
    children: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Converter:
    """A converter of a line. `argument`: None where it takes none."""

    name: str
    argument: str | int | None


@dataclass(frozen=True)
class Line:
    """One line between both trees. `sources`: paths of the source tree; `columns`: those of a rule. `from` as written
    are `sources` and `columns` in their order in `written`."""

    part: Part
    target: str
    path: str
    written: tuple[str, ...]
    sources: tuple[str, ...]
    columns: tuple[str, ...]
    rule: str | None
    converters: tuple[Converter, ...]
    lookup: str | None
    missing: str
    default: str | int | bool | None
    constant: str | int | bool | None
    required: bool | str | None
    note: str
    row: int


@dataclass(frozen=True)
class Rule:
    """A rule that runs for the mapping, in its own words. `reads`: paths of the source tree, its own source first.
    `besides`: named under `rules`, not by a line."""

    name: str
    words: str
    reads: tuple[str, ...]
    columns: tuple[str, ...]
    writes: tuple[str, ...]
    place: int
    besides: bool


@dataclass(frozen=True)
class Finding:
    """What is wrong with the text. `row`: its line there, from 1; `path`: of the line that it is about, in the target
    tree; "" for the file as a whole."""

    row: int
    message: str
    path: str = ""


@dataclass(frozen=True)
class Canvas:
    """A mapping as the canvas shows it. `text` is the truth of which the rest is made; `version`: of the configuration
    in force, 0 for the shipped files."""

    name: str
    flow: str
    title: str
    file: str
    source_system: str
    source_document: str
    target_system: str
    target_document: str
    source: tuple[Node, ...]
    target: tuple[Node, ...]
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...]
    not_sent: dict[str, str]
    after: str
    findings: tuple[Finding, ...]
    text: str
    changed: bool
    version: int


@dataclass(frozen=True)
class Summary:
    """A mapping in the list of all."""

    name: str
    title: str
    flow: str
    source: str
    target: str
    lines: int
    findings: int


@dataclass(frozen=True)
class Word:
    """Something that the language offers: a converter with `takes`, `gives` and what its argument means, a lookup with
    its columns, a rule with the columns that it writes."""

    name: str
    words: str
    takes: tuple[str, ...] = ()
    gives: str = ""
    argument: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """All that can be said of a line."""

    converters: tuple[Word, ...]
    lookups: tuple[Word, ...]
    rules: tuple[Word, ...]


@dataclass(frozen=True)
class OfDialect:
    """A mapping by which records of another API are taken in, as its page shows it."""

    name: str
    title: str
    file: str
    source: str
    target: str
    lines: tuple[Described, ...]
    findings: tuple[str, ...]


def listed(person: Person) -> tuple[Summary, ...]:
    """All mappings of flows."""
    return tuple(summary(person, name) for name in language.names())


def of_dialects(person: Person) -> tuple[OfDialect, ...]:
    """All mappings that make documents of the contract of another API's."""
    person.require(Right.SEE)
    return tuple(_of_dialect(name) for name in language.all_names() if "/" in name)


def of_dialect(person: Person, name: str) -> OfDialect:
    """One of them. ConfigError for an unknown name."""
    person.require(Right.SEE)
    if "/" not in name or name not in language.all_names():
        raise ConfigError(f"There is no mapping {name!r}.", do="Take one of the page Mappings.")
    return _of_dialect(name)


def _of_dialect(name: str) -> OfDialect:
    path = language.mappings_folder() / f"{name}.yaml"
    table = language.read(path)
    findings = tuple(f"Line {one.line}: {one.message}" for one in table.check())
    return OfDialect(
        name, table.title, f"{FOLDER}/{name}.yaml", describe.named(table.source_document),
        describe.named(table.target_document), describe.lines(table), findings,
    )  # fmt: skip


def summary(person: Person, name: str) -> Summary:
    """A mapping in a few words."""
    person.require(Right.SEE)
    table = language.read(path_of(name))
    return Summary(
        name,
        table.title,
        flow_using(name).name,
        " ".join(table.source),
        " ".join(table.target),
        len(table.every_field),
        len(table.check()),
    )


def canvas(person: Person, name: str, text: str | None = None) -> Canvas:
    """The mapping in force; with `text`, a draft of it."""
    person.require(Right.SEE)
    published = text_of(name)
    root = settings.root()
    version = (root.version if root else None) or 0
    with drafted(name, published if text is None else text):
        table = language.read(path_of(name))
        return _canvas(table, published if text is None else text, published, version)


def vocabulary(person: Person) -> Vocabulary:
    """What a line can say."""
    person.require(Right.SEE)
    return Vocabulary(
        tuple(Word(one.name, one.docstring, one.takes, one.gives or "", one.argument) for one in CONVERTERS.values()),
        tuple(_lookups()),
        tuple(Word(one.name, one.docstring, columns=one.writes) for one in named_rules().values()),
    )


def _lookups() -> Iterator[Word]:
    """The lookups that a line can name: those of which one column is the key."""
    for name in lookups.names():
        try:
            yield Word(name, "", columns=lookups.read(name).columns)
        except ConfigError:
            continue


def _canvas(table: Table, text: str, published: str, version: int) -> Canvas:
    here = str(settings.config_dir())
    of_row = _rows(table)
    findings = tuple(
        Finding(one.line, one.message.replace(here, SHOWN_FOLDER), of_row.get(one.line, "")) for one in table.check()
    )
    if not (all(table.source) and all(table.target)):
        source_tree: tuple[Node, ...] = ()
        target_tree: tuple[Node, ...] = ()
        lines: tuple[Line, ...] = ()
    else:
        lines = tuple(lines_of(table))
        source_tree = _source_tree(table, lines)
        target_tree = _target_tree(table, lines)
    return Canvas(
        table.name,
        flow_using(table.name).name,
        table.title,
        f"{FOLDER}/{table.name}.yaml",
        *table.source,
        *table.target,
        source_tree,
        target_tree,
        lines,
        tuple(_rules(table)),
        dict(table.not_sent),
        table.after,
        findings,
        text,
        text != published,
        version,
    )


def _rows(table: Table) -> dict[int, str]:
    """The path of the line that each row of the file says something of."""
    children = table.children
    below = f"{children.target}." if children else ""
    paths = [("", one) for one in table.fields] + [(below, one) for one in (children.fields if children else ())]
    return {row: prefix + one.target for prefix, one in paths for row in (one.line, *one.lines.values())}


def lines_of(table: Table) -> Iterator[Line]:
    """The lines of a mapping whose documents both contracts know."""
    children = table.children
    rules = named_rules()
    for part, prefix, fields in (
        ("fields", "", table.fields),
        ("children", f"{children.target}." if children else "", children.fields if children else ()),
    ):
        list_ = f"{children.source}." if children and part == "children" else ""
        for one in fields:
            rule = rules.get(one.rule or "")
            made = written_by(rule, of_line=bool(list_))
            paths = sources_of(one, rule, of_line=bool(list_))
            own = [path for path in paths if path in made]
            yield Line(
                "children" if list_ else "fields",
                one.target,
                prefix + one.target,
                one.sources,
                tuple(source_path(path, list_) for path in paths if path not in own),
                tuple(own),
                one.rule,
                tuple(Converter(step.name, step.argument) for step in one.convert),
                one.lookup,
                one.misses,
                one.default,
                one.constant,
                one.required,
                one.note,
                one.line,
            )


def source_path(path: str, list_: str) -> str:
    """A path of a line's `from` as one of the source tree."""
    return path.removeprefix(OF_HEAD) if path.startswith(OF_HEAD) or not list_ else list_ + path


def _rules(table: Table) -> Iterator[Rule]:
    children = table.children
    inside: set[str] = set()
    list_ = f"{children.source}." if children else ""
    if all(table.source):
        document = table.source_document
        inside |= set(document.leaves)
        below = document.fields[children.source].items if children and children.source in document.fields else None
        inside |= {list_ + path for path in below.leaves} if below else set()
    for place, rule in enumerate(table.plan.rules, 1):
        reads = tuple(name for name in rule.reads if name != EVERYTHING)
        paths = {name: list_ + name.removeprefix(LINES) if name.startswith(LINES) else name for name in reads}
        own = tuple(path for path in paths.values() if path in inside)
        columns = tuple(name for name, path in paths.items() if path not in inside)
        yield Rule(rule.name, rule.docstring, own, columns, rule.writes, place, rule.name in table.rules)


# ---- trees ---------------------------------------------------------------------------------------------------------


def _source_tree(table: Table, lines: Sequence[Line]) -> tuple[Node, ...]:
    used = {path for line in lines for path in line.sources}
    children = table.children
    states = dict.fromkeys(used, "used")
    return _Tree(states, children.source if children else "", entry="[]", entries_take=False).below(
        table.source_document
    )


def _target_tree(table: Table, lines: Sequence[Line]) -> tuple[Node, ...]:
    document, children = table.target_document, table.children
    missing = set(lacking(document, {one.target for one in table.fields}, children.target if children else None))
    if children and (below := document.fields.get(children.target)) and below.items:
        inside = lacking(below.items, {one.target for one in children.fields}, None)
        missing |= {f"{children.target}.{path}" for path in inside}
    states = dict.fromkeys(table.not_sent, "not_sent") | dict.fromkeys(missing, "missing")
    states |= dict.fromkeys((line.path for line in lines), "mapped")
    list_ = children.target if children else ""

    def hint(path: str) -> str:
        if list_ and path.startswith(f"{list_}."):
            below = document.fields[list_].items
            return no_place(table, LINES_PART, path.removeprefix(f"{list_}."), below) if below else ""
        return no_place(table, FIELDS, path, document)

    return _Tree(states, list_, entry="[0]", entries_take=True, hint=hint, type_of=target_type).below(document)


@dataclass(frozen=True)
class _Tree:
    """A document as a tree. `list_`: the list whose entries are the document's lines. `entry`: how an entry of another
    list is named, and whether lines may go there. `hint`: why a line to a field would send nothing."""

    states: Mapping[str, str]
    list_: str
    entry: str
    entries_take: bool
    hint: Callable[[str], str] = lambda _: ""
    type_of: Callable[[Field], str] = source_type

    def below(self, document: Document, prefix: str = "", before: str = "", takes: bool = True) -> tuple[Node, ...]:
        """The nodes right below `prefix`. `before`: the list that the document is an entry of."""
        return tuple(
            self.node(document, path, field, before, takes)
            for path, field in document.fields.items()
            if path.startswith(prefix) and "." not in path.removeprefix(prefix)
        )

    def node(self, document: Document, path: str, field: Field, before: str, takes: bool) -> Node:
        shown = before + path
        inner: tuple[Node, ...] = ()
        if field.type == "object":
            inner = self.below(document, f"{path}.", before, takes)
        elif field.items and shown == self.list_:
            inner = self.below(field.items, before=f"{shown}.")
        elif field.items:
            open_ = takes and not before and self.entries_take and self.states.get(shown) != "mapped"
            inner = self.below(field.items, before=f"{shown}{self.entry}.", takes=open_)
        whole = before.partition("[")[0]
        ends = takes and field.type not in ("object", "array")
        part = f"is a part of {whole}, which one line fills as a whole" if self.states.get(whole) == "mapped" else ""
        return Node(
            shown,
            path.rpartition(".")[2],
            self.type_of(field),
            field.written_type,
            field.required,
            field.description,
            self.states.get(shown, "free"),
            bool(self.list_) and before == f"{self.list_}.",
            ends,
            (self.hint(shown) if ends else "") or part,
            inner,
        )


# ---- changes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One change of a draft. `do`:

    - draw: a line from `source` (of the source tree) or the column `source` of `rule` to `path` (of the target tree),
      with `words` besides; or one of a `constant` among `words`. A line that is there is refused, unless `replace`
    - change: `words` of the line to `path`; a word that is None is taken away
    - remove: the line to `path`
    - add_rule, remove_rule: `rule` among those that run besides
    - not_sent: `path` stays out, because of `reason`; without a reason it no longer does
    """

    do: Literal["draw", "change", "remove", "add_rule", "remove_rule", "not_sent"]
    path: str = ""
    source: str = ""
    rule: str = ""
    reason: str = ""
    words: Mapping[str, Any] | None = None
    replace: bool = False


def changed(person: Person, name: str, text: str, change: Change) -> Canvas:
    """The draft with a change, as the canvas shows it. Raises ConfigError where the change makes no sense."""
    person.require(Right.PUBLISH)
    with drafted(name, text):
        table = language.read(path_of(name))
        made = _CHANGES[change.do](table, text, change)
    return canvas(person, name, made)


_ORIGIN = ("constant", "rule", "convert", "lookup", "missing", "from")  # words that say where a value comes from
_BESIDES = ("default", "note")  # words about the line that was there, which say nothing of another one


def _draw(table: Table, text: str, change: Change) -> str:
    part, target = place(table, change.path)
    words: dict[str, Any] = {"target": target}
    if change.rule:
        words |= _from_rule(change.rule, change.source, target, of_line=part == "children")
    elif change.source:
        words |= _from_source(table, part, change.source, target)
    elif (change.words or {}).get("constant") is None:
        raise ConfigError(f"Nothing is said of where {change.path} comes from.", do="Choose a source field or a rule.")
    words |= _words_of(change)
    held = next((one for one in _fields(table, part) if one.target == target), None)
    if held:
        del words["target"]
        same = editing.change_line(text, part, target, dict.fromkeys(_ORIGIN) | words)
        if same == text:
            return text
        if not change.replace:
            raise ConfigError(
                f"{change.path} is mapped already: {_in_words(held)}.",
                do="Say that its line is to be replaced, or keep it.",
            )
        same_field = (words.get("from"),) == held.sources and words.get("rule") == held.rule
        gone = _ORIGIN if same_field else (*_ORIGIN, *_BESIDES)
        return editing.change_line(text, part, target, dict.fromkeys(gone) | words)
    if change.path in table.not_sent:
        text = editing.set_not_sent(text, change.path, None)
    return editing.add_line(text, part, words)


def _in_words(one: FieldMap) -> str:
    """What a line says now."""
    parts = [f"always {one.constant}"] if one.constant is not None else [", else ".join(one.sources)]
    parts += [f"rule {one.rule}"] if one.rule else []
    parts += [*map(str, one.convert), *([f"lookup {one.lookup}"] if one.lookup else [])]
    parts += [f"else {one.default}"] if one.default is not None else []
    return ", ".join(filter(None, parts))


def _from_rule(rule_name: str, column: str, target: str, *, of_line: bool) -> dict[str, Any]:
    rule = named_rules().get(rule_name)
    valid = written_by(rule, of_line=of_line)
    column = column.removeprefix(MADE).removeprefix(LINES) or target
    if rule is None or column not in valid:
        raise ConfigError(
            f"The rule {rule_name} writes no column {column!r} for {'lines' if of_line else 'the document'}.",
            do=f"It writes: {', '.join(valid) or 'none there'}.",
        )
    return {"rule": rule_name} if column == target else {"from": column, "rule": rule_name}


def _from_source(table: Table, part: Part, source: str, target: str) -> dict[str, Any]:
    """`from`, and a converter where the types do not fit without one."""
    children = table.children
    list_ = f"{children.source}." if children else "."
    document: Document | None = table.source_document
    name = written = source
    if source.startswith(list_) and children:
        if part == "fields":
            raise ConfigError(
                f"{source} is of each line, and {target} is of the whole document.",
                do=f"Draw it to a field of {children.target}, or let a rule make one value of the lines.",
            )
        field = table.source_document.fields[children.source]
        document, name = field.items, source.removeprefix(list_)
        written = name
    elif part == "children":
        written = OF_HEAD + source
    found = document.fields.get(name) if document else None
    if found is None or found.type in ("object", "array") or "[" in source:
        raise ConfigError(
            f"No line can begin at {source!r}.", do="Choose a field that holds a value, of the document or its lines."
        )
    maker, columns = lines_made(table)
    if maker and written != source and written == name and name not in columns:
        raise ConfigError(
            f"The lines of {table.target_document.name} are those that the rule {maker} makes, and it gives them no "
            f"{name}.",
            do=f"Draw one of its columns: {', '.join(columns)}.",
        )
    needed = target_field(_document_of(table, part), target)
    assert needed
    words: dict[str, Any] = {"from": written}
    given, wanted = source_type(found), target_type(needed)
    if given != wanted and not (wanted == "text" and given in ("moment", "date")):
        ways = [one for one in CONVERTERS.values() if one.gives == wanted and given in one.takes and not one.argument]
        if ways:
            words["convert"] = [(ways[0].name, None)]
    return words


def place(table: Table, path: str) -> tuple[Part, str]:
    """The part and the target that a path of the target tree stands for."""
    children = table.children
    part: Part = "children" if children and path.startswith(f"{children.target}.") else "fields"
    target = path.removeprefix(f"{children.target}.") if children and part == "children" else path
    if not target or target_field(_document_of(table, part), target) is None:
        raise ConfigError(f"{table.target_document.name} has no field {path!r}.", do="Choose one of the target tree.")
    return part, target


def _change(table: Table, text: str, change: Change) -> str:
    return editing.change_line(text, *place(table, change.path), _words_of(change))


def _words_of(change: Change) -> dict[str, Any]:
    words = dict(change.words or {})
    if "target" in words:
        raise ConfigError("A line keeps its target.", do="Remove the line and draw another one.")
    for word, value in words.items():
        if word in ("from", "convert"):
            some = value if isinstance(value, list | tuple) else [value] if value else []
            words[word] = [_step(one) if word == "convert" else _path(one) for one in some] or None
        elif not _is_single(value):
            raise ConfigError(f"`{word}` is one value.", do="Give a text, a whole number, or yes or no.")
    return words


def _path(one: Any) -> str:
    if not isinstance(one, str):
        raise ConfigError("`from` is a path, or a list of paths.", do="Give the fields' paths as texts.")
    return one


def _step(one: Any) -> tuple[str, Any]:
    """A converter as a program gives it: its name, or {name, argument}."""
    if isinstance(one, str):
        return one, None
    if isinstance(one, Mapping) and isinstance(one.get("name"), str) and _is_single(one.get("argument")):
        return one["name"], one.get("argument")
    raise ConfigError(
        "A converter has a name, and an argument if it takes one.", do='Give {"name": ..., "argument": ...}.'
    )


def _is_single(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _remove(table: Table, text: str, change: Change) -> str:
    return editing.remove_line(text, *place(table, change.path))


def _not_sent(table: Table, text: str, change: Change) -> str:
    if change.reason and any(one.target == change.path for one in table.fields):
        raise ConfigError(f"{change.path} is mapped.", do="Remove its line first.")
    return editing.set_not_sent(text, change.path, change.reason or None)


_CHANGES = {
    "draw": _draw,
    "change": _change,
    "remove": _remove,
    "add_rule": lambda table, text, change: editing.add_rule(text, change.rule),
    "remove_rule": lambda table, text, change: editing.remove_rule(text, change.rule),
    "not_sent": _not_sent,
}


def _fields(table: Table, part: Part) -> tuple[FieldMap, ...]:
    return table.fields if part == "fields" else table.children.fields if table.children else ()


def _document_of(table: Table, part: Part) -> Document:
    document: Document | None = table.target_document
    if part == "children" and table.children:
        document = table.target_document.fields[table.children.target].items
    assert document
    return document


# ---- files ---------------------------------------------------------------------------------------------------------


def path_of(name: str) -> Path:
    """The file in force. Raises ConfigError for an unknown name."""
    if name not in language.names():
        raise ConfigError(f"There is no mapping {name!r}.", do=f"The mappings are: {', '.join(language.names())}.")
    return language.mappings_folder() / f"{name}.yaml"


def file_of(name: str) -> str:
    """Its file in the configuration. Raises ConfigError for an unknown name."""
    path_of(name)
    return f"{FOLDER}/{name}.yaml"


def text_of(name: str) -> str:
    """The text in force, byte for byte."""
    return path_of(name).read_bytes().decode("utf-8")


@contextmanager
def drafted(name: str, text: str) -> Iterator[Path]:
    """Reads the configuration in force with another text of one mapping, within the block. Gives the folder."""
    path_of(name)
    with TemporaryDirectory(prefix="crossdock-draft-") as folder:
        root = Path(folder) / "config"
        shutil.copytree(settings.config_dir(), root)
        (root / FOLDER / f"{name}.yaml").write_bytes(text.encode("utf-8", errors="surrogatepass"))
        try:
            with settings.using(root):
                yield root
        except ConfigError as error:
            error.message = error.message.replace(str(root), SHOWN_FOLDER)
            error.do = error.do.replace(str(root), SHOWN_FOLDER)
            raise


def refuse(name: str) -> None:
    """Raises ConfigError with all that is wrong with a draft."""
    found = language.read(path_of(name)).check()
    if found:
        words = " ".join(f"Line {one.line}: {one.message.rstrip('.?')}." for one in found[:5])
        more = f" And {len(found) - 5} more." if len(found) > 5 else ""
        raise ConfigError(f"The draft does not fit. {words}{more}", do="Mend the lines that are marked.")


def flow_using(name: str) -> Flow:
    """The flow that uses a mapping: the one whose documents it makes, otherwise the first that names it."""
    found = [flow for flow in flows.all_flows().values() if name in flow.mappings]
    if not found:
        raise ConfigError(f"No flow uses the mapping {name!r}.", do="Name it in `mappings` of its flow.")
    return next((flow for flow in found if flow.stage.info.get("mapping") == name), found[0])
