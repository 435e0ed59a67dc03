"""Lists and single documents as they are answered: pages, links, cut collections.

In: nodes and options. Out: OData envelopes. Never: a page size that a client chose beyond the server's own; a link that
is not absolute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from sandbox.channel_advisor_v1.nodes import Node
from sandbox.channel_advisor_v1.odata import comparable
from sandbox.channel_advisor_v1.options import Options
from sandbox.channel_advisor_v1.schema import entities, sets

PAGE = 100
NESTED_PAGE = 20  # where something is expanded within what is expanded
CAP = 20  # rows of an expanded collection in a list
LEAN_PAGE, LEAN = 1_000, 5  # rows of a page of at most so many properties
_SAFE = "$=&(),;'/:@"
_SET_OF = {entity.name: name for name, entity in sets().values()}

Document = dict[str, Any]


@dataclass(frozen=True)
class View:
    """Where documents are shown: the service's address, the token if it came in the query, whether collections are
    cut."""

    base: str
    token: str
    is_truncated: bool

    def url(self, path: str, query: str) -> str:
        parts = [part for part in (query, f"access_token={self.token}" if self.token else "") if part]
        return f"{self.base}/v1/{path}?{quote('&'.join(parts), safe=_SAFE)}"


def page_size(options: Options) -> int:
    if options.is_nested:
        return NESTED_PAGE
    is_lean = options.select is not None and len(options.select) <= LEAN and not options.expand
    return LEAN_PAGE if is_lean else PAGE


def shown(node: Node, options: Options, view: View) -> Document:
    """A document with what is selected and expanded of it."""
    values = node.values
    if options.select is not None:
        values = {name: value for name, value in values.items() if name in options.select}
    found = dict(values)
    for name, below in options.expand.items():
        reached = node.link(name)
        if isinstance(reached, list):
            _collection(found, node, name, chosen(reached, below), below, view)
        else:
            found[name] = None if reached is None else shown(reached, below, view)
    return found


def _collection(found: Document, node: Node, name: str, nodes: list[Node], below: Options, view: View) -> None:
    if below.count:
        found[f"{name}@odata.count"] = len(nodes)
    nodes = nodes[below.skip :]
    nodes = nodes if below.top is None else nodes[: below.top]
    kept = nodes[:CAP] if view.is_truncated else nodes
    found[name] = [shown(each, below, view) for each in kept]
    if len(kept) < len(nodes):
        query = _without(below.text, "$skip", "$top")
        rest = [f"$skip={below.skip + CAP}"] + ([] if below.top is None else [f"$top={below.top - CAP}"])
        found[f"{name}@odata.nextLink"] = view.url(f"{address(node)}/{name}", "&".join(filter(None, [query, *rest])))


def address(node: Node) -> str:
    """`Orders(5)`, `Images(ProductID=5,PlacementName='ITEMIMAGEURL1')`."""
    entity = entities()[node.entity]
    written = {
        name: "'" + value.replace("'", "''") + "'" if isinstance(value := node.values[name], str) else str(value)
        for name in entity.key
    }
    inner = next(iter(written.values())) if len(written) == 1 else ",".join(f"{k}={v}" for k, v in written.items())
    return f"{_SET_OF[node.entity]}({inner})"


def _without(query: str, *names: str) -> str:
    parts = [part for part in query.split("&") if part.partition("=")[0].lower() not in names]
    return "&".join(filter(None, parts))


def chosen(nodes: Iterable[Node], options: Options) -> list[Node]:
    """The nodes that pass the filter, in the order that is asked for."""
    found = [node for node in nodes if options.filter is None or options.filter.holds(node)]
    for prop, is_down in reversed(options.orderby):
        name = prop.name

        def key(node: Node, prop: Any = prop, name: str = name) -> Any:
            value = comparable(prop, node.values[name])
            return (value is not None, "" if value is None else value)

        found.sort(key=key, reverse=is_down)
    return found


def page(
    name: str, rows: Sequence[Any], options: Options, request: tuple[str, str], past_end: str
) -> tuple[list[Any], Document]:
    """The rows of a page, and its envelope without them. `request`: the URL without its query, and the query.
    `past_end`: what a page behind the last row holds: nothing ("empty") or the first page again ("first")."""
    skip = options.skip
    if skip and skip >= len(rows) and past_end == "first":
        skip = 0
    size = page_size(options)
    limit = size if options.top is None else min(size, options.top)
    kept = list(rows[skip : skip + limit])
    base = request[0].partition("/v1/")[0]
    envelope: Document = {"@odata.context": f"{base}/v1/$metadata#{name}"}
    if options.count:
        envelope["@odata.count"] = len(rows)
    is_more = skip + limit < len(rows) and (options.top is None or options.top > limit)
    if is_more:
        top = None if options.top is None else options.top - limit
        envelope["@odata.nextLink"] = _next(request, skip + limit, top)
    return kept, envelope


def _next(request: tuple[str, str], skip: int, top: int | None) -> str:
    """The query as it was sent, and `$skip`."""
    url, query = request
    pairs = [
        (key, value)
        for key, value in parse_qsl(query, keep_blank_values=True)
        if key.lower() != "$skip" and not (key.lower() == "$top" and top is not None)
    ]
    if top is not None:
        pairs.append(("$top", str(top)))
    pairs.append(("$skip", str(skip)))
    return f"{url}?{urlencode(pairs, safe='$', quote_via=quote)}"
