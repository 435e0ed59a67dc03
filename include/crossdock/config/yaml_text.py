"""YAML files as text: changes of single values that leave every other byte as it is.

In: the text of a file, the place of a value, what should stand there. Out: the text with that change and no other.
Never: a text that says anything else than asked: each change is read back and compared.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import yaml

from crossdock.config.nodes import composed, plain
from crossdock.errors import ConfigError

Place = tuple[str | int, ...]
Given = str | Sequence[str] | None  # a value as it is written, the entries of a list, or nothing: it is taken away
BY_HAND = "Change it in the text of the file."


def changed(text: str, place: Place, given: Given, *, as_text: bool = False) -> str:
    """The text with `given` at `place`. `as_text`: the value is a text, whatever it looks like."""
    file = _File(text)
    where = file.find(place)
    if where.node is None or where.rest:
        if given is None:
            return text
        return file.inserted(where, given, as_text)
    if given is None:
        return file.removed(where)
    if isinstance(given, str):
        return file.replaced(where, given, as_text)
    return file.listed(where, [str(one) for one in given], as_text)


class _Where:
    """A place as far as the file has it. `keys`: the key node of each step."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.above: list[tuple[yaml.Node, yaml.Node | None]] = []  # (mapping or list, key in it)
        self.node: yaml.Node | None = None
        self.rest: Place = ()


class _File:
    """A text with the places of its nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        first = text.find("\n")
        self.newline = "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"
        self.root = root(text)
        self.shared = shared(self.root)

    def find(self, place: Place) -> _Where:
        """The nodes on the way to a place."""
        found = _Where(place)
        node = self.root
        for at, step in enumerate(place):
            if node is not None and id(node) in self.shared:
                raise ConfigError(f"{_called(place)} stands at several places by an alias.", do=BY_HAND)
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
                if not 0 <= step < len(node.value):
                    raise ConfigError(f"{_called(place)} is not there.", do="Load the page again.")
                found.above.append((node, None))
                node = node.value[step]
                continue
            pair = _pair(node, step)
            if pair is None:
                found.node, found.rest = node, place[at:]
                return found
            assert node is not None
            found.above.append((node, pair[0]))
            node = pair[1]
        found.node = node
        return found

    # ---- the changes

    def replaced(self, where: _Where, value: str, as_text: bool) -> str:
        node = where.node
        if not isinstance(node, yaml.ScalarNode):
            raise ConfigError(f"{_called(where.place)} is more than one value.", do=BY_HAND)
        if node.style in ("|", ">") or node.start_mark.line != node.end_mark.line:
            raise ConfigError(f"{_called(where.place)} stands in several lines.", do=BY_HAND)
        if node.value == value and (not as_text or isinstance(plain(node), str)):
            return self.text
        shown = scalar(value, as_text=as_text, flow=self._in_flow(where), style=node.style)
        wanted = _value_of(shown)
        if node.start_mark.index == node.end_mark.index:  # nothing stands there
            return self._made(self._after_key(where), self._after_key(where), f" {shown}", where.place, wanted)
        return self._made(node.start_mark.index, node.end_mark.index, shown, where.place, wanted)

    def listed(self, where: _Where, entries: list[str], as_text: bool) -> str:
        node = where.node
        values = [scalar(one, as_text=as_text, flow=True) for one in entries]
        wanted = [_value_of(one) for one in values]
        if not isinstance(node, yaml.SequenceNode):
            if not isinstance(node, yaml.ScalarNode) or node.value:
                raise ConfigError(f"{_called(where.place)} is no list.", do=BY_HAND)
            at = self._after_key(where)
            return self._made(at, at, f" [{', '.join(values)}]", where.place, wanted)
        old = [plain(one) for one in node.value]
        if old == wanted:
            return self.text
        if any(not isinstance(one, yaml.ScalarNode) for one in node.value):
            raise ConfigError(f"{_called(where.place)} has more than single values.", do=BY_HAND)
        if node.flow_style or not node.value or not wanted:
            end = node.end_mark.index if node.flow_style else self._end(node)
            start = node.start_mark.index if node.flow_style else self._after_key(where)
            blank = "" if node.flow_style else " "
            kept = self._entries_kept(node, old, wanted, values) if node.flow_style else values
            return self._made(start, end, f"{blank}[{', '.join(kept)}]", where.place, wanted)
        dash = self.text.rindex("-", 0, node.value[0].start_mark.index)
        indent = self.text[self._line_start(dash) : dash]
        starts = [self._line_start(one.start_mark.index) for one in node.value]
        ends = [self._line_end(one.end_mark.index) + len(self.newline) for one in node.value]
        starts = [starts[0], *ends[:-1]]  # remarks stand with the entry below them
        made = ""
        for action, a, b, c, d in SequenceMatcher(None, list(map(repr, old)), list(map(repr, wanted))).get_opcodes():
            if action == "equal":
                made += self.text[starts[a] : min(ends[b - 1], len(self.text))]
                made += "" if made.endswith(("\n", "\r")) else self.newline
            elif action in ("replace", "insert"):
                block = [scalar(one, as_text=as_text, flow=False) for one in entries[c:d]]
                made += "".join(f"{indent}- {one}{self.newline}" for one in block)
        return self._made(starts[0], min(ends[-1], len(self.text)), made, where.place, wanted)

    def _entries_kept(self, node: yaml.SequenceNode, old: list, wanted: list, values: list[str]) -> list[str]:
        """Entries of a list in one line as they stand, where they stay."""
        written = {
            repr(value): self.text[one.start_mark.index : one.end_mark.index]
            for value, one in zip(old, node.value, strict=True)
        }
        return [written.get(repr(value), shown) for value, shown in zip(wanted, values, strict=True)]

    def inserted(self, where: _Where, given: Given, as_text: bool) -> str:
        """Adds what is not there yet, with all that it stands in."""
        node, rest = where.node, where.rest
        if any(isinstance(one, int) for one in rest) and isinstance(node, yaml.SequenceNode):
            raise ConfigError(f"{_called(where.place)} is an entry of a list.", do=BY_HAND)
        value: Any
        if isinstance(given, str):
            flow = scalar(given, as_text=as_text, flow=True)
            block = scalar(given, as_text=as_text, flow=False)
            value = _value_of(flow)
        else:
            entries = [scalar(one, as_text=as_text, flow=True) for one in given or ()]
            flow = block = f"[{', '.join(entries)}]"
            value = [_value_of(one) for one in entries]
        keys = [_key(step) for step in rest]
        nothing = node is None or (isinstance(node, yaml.ScalarNode) and plain(node) is None)
        if isinstance(node, yaml.MappingNode) and node.flow_style:
            inner = "".join(f"{key}: {{" for key in keys[:-1]) + f"{keys[-1]}: {flow}" + "}" * (len(keys) - 1)
            at = node.end_mark.index - 1
            last = self._end(node.value[-1][1]) if node.value else node.start_mark.index + 1
            before = ", " if node.value else ""
            return self._made(last, at if not node.value else last, before + inner, where.place, value)
        if not nothing and not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{_called(where.place)} stands below a single value.", do=BY_HAND)
        if isinstance(node, yaml.MappingNode):
            indent = node.value[0][0].start_mark.column
            at = self._line_end(self._end(node.value[-1][1], node.value[-1][0]))
        elif where.above:
            key = where.above[-1][1]
            if key is None:
                raise ConfigError(f"{_called(where.place)} is an entry of a list.", do=BY_HAND)
            if self._in_flow(where):
                raise ConfigError(f"{_called(where.place)} stands in one line.", do=BY_HAND)
            indent = key.start_mark.column + 2
            at = self._line_end(key.end_mark.index)
        else:
            indent, at = 0, len(self.text.rstrip())
        lines = [f"{' ' * (indent + 2 * depth)}{key}:" for depth, key in enumerate(keys)]
        lines[-1] += f" {block}"
        body = self.newline.join(lines)
        return self._made(at, at, (self.newline if at else "") + body, where.place, value)

    def removed(self, where: _Where) -> str:
        parent, key = where.above[-1]
        node = where.node
        assert node is not None
        if isinstance(parent, yaml.SequenceNode):
            raise ConfigError(f"{_called(where.place)} is an entry of a list.", do=BY_HAND)
        assert isinstance(parent, yaml.MappingNode)
        assert key is not None
        end = self._end(node, key)
        if parent.flow_style:
            ends = [self._end(one, name) for name, one in parent.value]
            at = next(at for at, (name, _) in enumerate(parent.value) if name is key)
            if at:
                return self._made(ends[at - 1], end, "", where.place, _GONE)
            start = parent.value[0][0].start_mark.index
            following = parent.value[1][0].start_mark.index if len(parent.value) > 1 else end
            return self._made(start, following, "", where.place, _GONE)
        if len(parent.value) == 1 and len(where.above) > 1 and where.above[-2][1] is not None:
            start = self._after(where.above[-2][1])
            return self._made(start, end, " {}", where.place, _GONE)
        start = self._line_start(key.start_mark.index)
        if self.text[start : key.start_mark.index].strip():
            raise ConfigError(f"{_called(where.place)} does not begin its line.", do=BY_HAND)
        stop = min(self._line_end(end) + len(self.newline), len(self.text))
        return self._made(start, stop, "", where.place, _GONE)

    # ---- places

    def _made(self, start: int, end: int, new: str, place: Place, value: Any) -> str:
        """The text with `new` from start to end. ConfigError unless it then says what it said, with this change."""
        made = self.text[:start] + new + self.text[end:]
        wanted = _put(copy.deepcopy(plain(self.root)) if self.root is not None else {}, place, value)
        try:
            found = root(made)
            same = (plain(found) if found is not None else {}) == wanted
        except ConfigError:
            same = False
        if not same:
            raise ConfigError(f"{_called(place)} is written in a way in which it cannot be changed here.", do=BY_HAND)
        return made

    def _after_key(self, where: _Where) -> int:
        key = where.above[-1][1]
        if key is None:
            raise ConfigError(f"{_called(where.place)} is an entry of a list.", do=BY_HAND)
        return self._after(key)

    def _after(self, key: yaml.Node) -> int:
        """Right behind the colon of a key."""
        return self.text.index(":", key.end_mark.index) + 1

    def _end(self, node: yaml.Node, key: yaml.Node | None = None) -> int:
        """Where a node really ends; the marks of a block reach to what comes next."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1], last[0]) if isinstance(node, yaml.MappingNode) else self._end(last)
        if key is not None and node.start_mark.index == node.end_mark.index:
            return self._after(key)
        if key is not None and node.end_mark.index < key.start_mark.index:  # an alias: its node stands elsewhere
            return self._line_end(self._after(key))
        return node.end_mark.index

    def _in_flow(self, where: _Where) -> bool:
        return any(getattr(node, "flow_style", False) for node, _ in where.above)

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        end = self.text.find("\n", at)
        end = len(self.text) if end < 0 else end
        return end - 1 if end > at and self.text[end - 1] == "\r" else end


_GONE: Any = object()


def _put(content: Any, place: Place, value: Any) -> Any:
    """Plain content with a value at a place, or without it."""
    node = content = {} if content is None else content
    for at, step in enumerate(place[:-1]):
        if isinstance(node, list):
            node = node[int(step)]
            continue
        name = _named(node, step)
        if node.get(name) is None:
            node[name] = {}
        node = node[name]
        del at
    last = place[-1]
    if isinstance(node, list):
        node[int(last)] = value
    elif value is _GONE:
        node.pop(_named(node, last), None)
    else:
        node[_named(node, last)] = value
    return content


def _named(node: dict, step: str | int) -> Any:
    """The key of a mapping that is written so; a number may be the text of one."""
    return next((key for key in node if str(key) == str(step)), _value_of(_key(step)))


def _pair(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((key, value) for key, value in node.value if str(getattr(key, "value", "")) == str(step)), None)


def _within(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def shared(root: yaml.Node | None) -> set[int]:
    """The lists and pairs that stand at several places, by an alias; by `id`."""
    seen: set[int] = set()
    found: set[int] = set()

    def count(node: yaml.Node | None) -> None:
        if node is None or isinstance(node, yaml.ScalarNode):
            return
        if id(node) in seen:
            found.add(id(node))
            return
        seen.add(id(node))
        for one in _within(node):
            count(one)

    count(root)
    return found


def root(text: str) -> yaml.Node | None:
    """The nodes of a text. Raises ConfigError with the line where it is no YAML."""
    try:
        return composed(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" Line {mark.line + 1} is wrong." if mark else ""
        raise ConfigError(f"This is no YAML that can be changed.{where}", do=BY_HAND) from None


def _key(step: str | int) -> str:
    return str(step) if isinstance(step, int) else scalar(step, as_text=not step.isdigit(), flow=True)


def scalar(value: str, *, as_text: bool, flow: bool, style: str | None = None) -> str:
    """A value as it is written: as it is where that is read as the same, otherwise in quotes. `as_text`: it is read as
    a text; without, `48` is a number and `yes` a yes. `style`: the quotes that it had."""
    if not value and not as_text:
        return ""
    single = "'" + value.replace("'", "''") + "'"
    double = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9).rstrip("\n")
    own = {"'": single, '"': double}.get(style or "") if as_text else None
    for shown in [*([own] if own else []), value, single, double]:
        around = f"{{k: {shown}}}" if flow else f"k: {shown}\n"
        try:
            found = composed(around)
        except (yaml.YAMLError, RecursionError):
            continue
        pairs = found.value if isinstance(found, yaml.MappingNode) else []
        if len(pairs) != 1 or not isinstance(pairs[0][1], yaml.ScalarNode) or pairs[0][1].value != value:
            continue
        if "\n" not in shown and (not as_text or isinstance(plain(pairs[0][1]), str)):
            return shown
    return double


def _value_of(shown: str) -> Any:
    found = composed(f"k: {shown}\n") if shown else None
    return plain(found)["k"] if found is not None else None


def _called(place: Place) -> str:
    return ".".join(map(str, place)) or "the file"
