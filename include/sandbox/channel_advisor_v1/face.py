"""The face of REST v1: which request means what, who may make it, and how a refusal looks.

In: requests below `/v1/` and `/oauth2/`. Out: answers. Never: a rule of the world; those are in
`sandbox.channel_advisor`.

Everything before `?` counts letters' case, but for the entity set; everything behind does not. Errors have three
shapes, as the live service has them: OData's `error`, Web API's `Message`, nothing or plain text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from sandbox.channel_advisor.rules import Conflict
from sandbox.channel_advisor.values import Refused
from sandbox.channel_advisor_v1 import lists, options
from sandbox.channel_advisor_v1.nodes import Node
from sandbox.channel_advisor_v1.odata import BadQuery
from sandbox.channel_advisor_v1.schema import Entity, Property, entities
from sandbox.channel_advisor_v1.sets import SOURCES, Ask, Finder, Memory, Source
from sandbox.kernel.app import DENIED
from sandbox.kernel.clock import SECOND
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.system import Call, Route

if TYPE_CHECKING:
    from sandbox.kernel.store import Transaction
    from sandbox.kernel.system import System

LONGEST_QUERY = 8_000  # bytes of a request's query
MOST_UPLOAD = 128 * 1024 * 1024  # bytes of a file of products
_SEGMENT = re.compile(r"([A-Za-z$]+)(?:\((.*)\))?")
_PAIR = re.compile(r"\s*(?:([A-Za-z]+)\s*=\s*)?('(?:[^']|'')*'|-?\d+)\s*(?:,|$)")
SETTINGS = {  # what is not certain of the live service, or goes wrong on purpose; the first is the default
    "past_end": ("empty", "first"),
    "adjust": ("complete", "error"),
    "updated": (
        "all",
        "own",
    ),  # what moves an order's UpdatedDateUtc: everything, or all but cancelled and returned units
}


class Path:
    """A path below `/v1/`, read: `Orders(5)/Items`, `Products/$count`, `Products(5)/UpdateQuantity`."""

    def __init__(self, raw_path: str) -> None:
        self.text = unquote(raw_path)[len("/v1/") :].rstrip("/")
        self.segments: list[tuple[str, str | None]] = []
        for part in _split(self.text):
            found = _SEGMENT.fullmatch(part)
            self.segments.append((found.group(1), found.group(2)) if found else (part, None))
        first = self.segments[0][0].lower() if self.segments else ""
        self.source: Source | None = SOURCES.get(first)
        self.key_text = self.segments[0][1] if self.segments else None
        self.rest = self.segments[1:]

    @property
    def template(self) -> str:
        """The path with `id` for its keys, to count requests by."""
        names = [self.source.name if self.source else self.segments[0][0] if self.segments else ""]
        names += [name for name, _ in self.rest]
        keys = [key for _, key in self.segments]
        return "/v1/" + "/".join(f"{n}(id)" if key is not None else n for n, key in zip(names, keys, strict=False))

    def key(self) -> dict[str, Any] | None:
        """The key of the first segment by its names; None when it cannot be one."""
        return None if self.source is None or self.key_text is None else read_key(self.key_text, self.source.entity)


def _split(text: str) -> list[str]:
    """The segments of a path; a slash in quotes is none between them."""
    return re.findall(r"(?:[^/']|'(?:[^']|'')*')+", text)


def read_key(text: str, entity: Entity) -> dict[str, Any] | None:
    found = {}
    place = 0
    while place < len(text):
        pair = _PAIR.match(text, place)
        if not pair:
            return None
        name, value = pair.groups()
        if name is None and len(entity.key) > 1:
            return None
        prop = entity.properties.get((name or entity.key[0]).lower())
        if prop is None or prop.name not in entity.key:
            return None
        found[prop.name] = _key_value(prop, value)
        place = pair.end()
    return found if set(found) == set(entity.key) and None not in found.values() else None


def _key_value(prop: Property, text: str) -> Any:
    if prop.kind == "String":
        return text[1:-1].replace("''", "'") if text.startswith("'") else None
    return int(text) if not text.startswith("'") and abs(int(text)) < 2**31 else None


Handler = Callable[[Call, Path], Answer]


@dataclass(frozen=True)
class Beside:
    """What is served outside `/v1/`; `is_open`: without a token."""

    handler: Callable[[Call], Answer]
    is_open: bool = False


class Face:
    """`actions`: what is done by verb and path behind the set: `("Orders", "POST", "Ship")`."""

    cursor = "$skip"

    def __init__(self, system: System) -> None:
        self.system = system
        self.memory = Memory()
        self.settings = {name: values[0] for name, values in SETTINGS.items()}
        self.actions: dict[tuple[str, str, str], Handler] = {}
        self.whole: dict[tuple[str, str], Handler] = {}  # by verb and path, e.g. ("POST", "$batch")
        self.beside: dict[str, Beside] = {}  # by the beginning of the path
        self.progress: Callable[[int], None] = lambda now: None  # takes what a client asked for a step further
        self._denied = itertools.count()

    def owns(self, raw_path: str) -> bool:
        return raw_path.startswith("/v1/") or self._beside(raw_path) is not None

    def _beside(self, raw_path: str) -> str | None:
        return next((start for start in self.beside if raw_path.startswith(start)), None)

    def route(self, method: str, raw_path: str) -> Route:
        if start := self._beside(raw_path):
            return Route(f"{method} {start.rstrip('/')}", None, (), self.beside[start].is_open)
        path = Path(raw_path)
        scope = path.source.scope if path.source else None
        most = None
        if path.text in ("ProductExport", "ProductUpload"):
            scope, most = "inventory", MOST_UPLOAD
        scopes = () if scope is None else (scope,) if method != "GET" else (scope, f"{scope}.readonly")
        return Route(f"{method} {path.template}", path.template.removeprefix("/v1/"), scopes, max_body=most)

    # ---- a request ----
    def perform(self, call: Call) -> Answer:
        if len(call.raw_query) > LONGEST_QUERY:
            raise Refusal(414, "too_long", "The request URI is too long.")
        if (refusal := call.plan.refusal) and call.method != "GET" and not call.raw_path.endswith("/$batch"):
            raise Refusal(*refusal, "Refused on purpose.")
        if start := self._beside(call.raw_path):
            return self._dated(self.beside[start].handler(call))
        self.progress(call.now)
        return self._dated(self.answer(call))

    def answer(self, call: Call) -> Answer:
        """What a request, or a part of a batch, is answered. Refusal."""
        try:
            return self._answer(call, Path(call.raw_path))
        except (BadQuery, Conflict, Refused) as wrong:
            raise Refusal(400, "", str(wrong)) from None

    def _answer(self, call: Call, path: Path) -> Answer:
        whole = self.whole.get((call.method, path.text))
        if whole is not None:
            return whole(call, path)
        source = path.source
        if source is None:
            raise no_resource(call)
        if len(path.rest) <= 1:
            last = path.rest[0][0] if path.rest else ""
            action = self.actions.get((source.name, call.method, last))
            if action is not None:
                return action(call, path)
        if call.method != "GET":
            raise Refusal(
                405, "method_not_allowed",
                f"The requested resource does not support http method '{call.method}'.",
            )  # fmt: skip
        return self._read(call, path, source)

    def _read(self, call: Call, path: Path, source: Source) -> Answer:
        if path.key_text is None:
            if not path.rest:
                return self._list(call, source)
            if [name for name, _ in path.rest] == ["$count"]:
                return self._count(call, source)
            raise no_resource(call)
        with self.system.store.read() as tx:
            node, entity = self.find(tx, call, path), source.entity
            for name, key in path.rest:
                link = entity.links.get(name.lower())
                if link is None or link.name != name:
                    raise no_resource(call)
                entity = entities()[link.target]
                reached: Any = node.link(name)
                if not link.many:
                    if reached is None:
                        return Answer(204)
                    node = reached
                elif key is None:
                    if (name, key) != path.rest[-1]:
                        raise no_resource(call)
                    return self._below(call, entity, reached, f"{path.text.rpartition('/')[0]}/{name}")
                else:
                    node = _one_of(reached, key, entity)
            return self._single(call, node, entity)

    def find(self, tx: Transaction, call: Call, path: Path) -> Node:
        """The row of the first segment's key, in the profiles of the token. Refusal 404."""
        source = path.source
        key = path.key()
        if source is None or key is None:
            raise no_resource(call)
        node = source.one(Finder(tx, self.memory), key)
        if node is None or node.values.get("ProfileID", call.access.profiles[0]) not in call.access.profiles:
            raise missing(source.entity, path.key_text or "")
        return node

    # ---- answers ----
    def _list(self, call: Call, source: Source) -> Answer:
        chosen = options.read(call.raw_query, source.entity)
        ask = Ask(call.access.profiles, call.access.client, chosen)
        with self.system.store.read() as tx:
            finder = Finder(tx, self.memory)
            rows = finder.matches(source, ask, self.system.store.version)
            request = (call.base_url + call.raw_path, call.raw_query)
            kept, envelope = lists.page(source.name, rows, chosen, request, self.settings["past_end"])
            view = lists.View(call.base_url, query_token(call), is_truncated=True)
            value = [
                lists.shown(node, chosen, view)
                for root, key in kept
                if (node := finder.node(source, root, key)) is not None
            ]
        kind = {"Orders": "order", "Products": "product"}.get(source.name)
        listed = (kind, [root for root, _ in kept]) if kind and kept else None
        return Answer(200, _with_value(envelope, value), listed=listed)

    def _count(self, call: Call, source: Source) -> Answer:
        ask = Ask(call.access.profiles, call.access.client, options.read(call.raw_query, source.entity))
        with self.system.store.read() as tx:
            rows = Finder(tx, self.memory).matches(source, ask, self.system.store.version)
        return Answer(200, str(len(rows)), media="text/plain")

    def _below(self, call: Call, entity: Entity, nodes: list[Node], name: str) -> Answer:
        """A collection of one row."""
        chosen = options.read(call.raw_query, entity)
        rows = lists.chosen(nodes, chosen)
        request = (call.base_url + call.raw_path, call.raw_query)
        kept, envelope = lists.page(name, rows, chosen, request, self.settings["past_end"])
        view = lists.View(call.base_url, query_token(call), is_truncated=True)
        return Answer(200, _with_value(envelope, [lists.shown(node, chosen, view) for node in kept]))

    def _single(self, call: Call, node: Node, entity: Entity) -> Answer:
        chosen = options.read(call.raw_query, entity)
        view = lists.View(call.base_url, query_token(call), is_truncated=False)
        return Answer(200, single(call, node, lists.shown(node, chosen, view)))

    # ---- refusals ----
    def refuse(self, refusal: Refusal) -> Answer:
        match refusal.code:
            case "invalid_token":
                shape = next(self._denied) % 3
                bodies: list[Any] = [{"error": {"code": "", "message": DENIED}}, {"Message": DENIED}, DENIED]
                answer = Answer(401, bodies[shape], media="text/plain" if shape == 2 else "application/json")
            case "insufficient_scope":
                answer = _error(401, DENIED)
            case "rate_limited":
                answer = Answer(429)
            case "not_found" | "method_not_allowed" | "unsupported_media_type" | "too_large" | "too_long":
                answer = Answer(refusal.status, {"$id": "1", "Message": refusal.message})
            case "internal":
                answer = Answer(refusal.status, {"$id": "1", "Message": "An error has occurred."})
            case _:
                answer = _error(refusal.status, refusal.message)
        return self._dated(answer)

    def _dated(self, answer: Answer) -> Answer:
        answer.headers.setdefault("Date", formatdate(self.system.clock.now() / SECOND, usegmt=True))
        if answer.body is not None and answer.media == "application/json":
            answer.headers.setdefault("OData-Version", "4.0")
        return answer

    # ---- the sandbox ----
    def set(self, sent: dict[str, str]) -> dict[str, str]:
        """Choose how the service behaves where its behaviour is not certain. ValueError."""
        for name, value in sent.items():
            if value not in SETTINGS.get(name, ()):
                valid = "; ".join(f"{key}: {' or '.join(values)}" for key, values in SETTINGS.items())
                raise ValueError(f"{name} {value} is no setting; known: {valid}.")
        self.settings |= sent
        self.memory = Memory()
        self.memory.is_own = self.settings["updated"] == "own"
        return self.settings

    def forget(self) -> None:
        self.memory = Memory()
        self.settings = {name: values[0] for name, values in SETTINGS.items()}


def _with_value(envelope: dict[str, Any], value: list[Any]) -> dict[str, Any]:
    link = {name: envelope.pop(name) for name in ("@odata.nextLink",) if name in envelope}
    return envelope | {"value": value} | link


def single(call: Call, node: Node, shown: dict[str, Any]) -> dict[str, Any]:
    name = lists.address(node).partition("(")[0]
    return {"@odata.context": f"{call.base_url}/v1/$metadata#{name}/$entity", **shown}


def _one_of(nodes: list[Node], key: str, entity: Entity) -> Node:
    """The row of a collection by its key, or by the part of it that the parent does not say: `Attributes('Color')`."""
    last = entity.key[-1]
    prop = entity.properties[last.lower()]
    alone = re.fullmatch(r"'(?:[^']|'')*'|-?\d+", key.strip())
    wanted = {last: _key_value(prop, key.strip())} if alone else read_key(key, entity) or {}
    for node in nodes if wanted else ():
        if all(_same(node.values[name], value) for name, value in wanted.items()):
            return node
    raise missing(entity, key)


def _same(one: Any, other: Any) -> bool:
    return one.casefold() == other.casefold() if isinstance(one, str) and isinstance(other, str) else one == other


def query_token(call: Call) -> str:
    """The access token, if it came in the query: links echo it."""
    return query_value(call, "access_token") or ""


def query_value(call: Call, wanted: str) -> str | None:
    return next((value for name, value in parse_qsl(call.raw_query) if name.lower() == wanted), None)


def no_resource(call: Call) -> Refusal:
    url = f"{call.base_url}{call.raw_path}"
    return Refusal(404, "not_found", f"No HTTP resource was found that matches the request URI '{url}'.")


def missing(entity: Entity, key: str) -> Refusal:
    return Refusal(404, "", f"{entity.name} {key} was not found.")


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"error": {"code": "", "message": message}})
