"""The OData of v1: filters and literals, the envelope of a page, the link to the next one, the clock.

In: query options; the bytes of an answer. Out: `Split` pages as received, texts for `$filter`.
Never: a counted page (`$skip`); a link to another origin; a page without a Date header.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from crossdock.errors import RecordRejected
from crossdock.systems import paging, times
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Http, TokenRefused
from crossdock.systems.limits import Limits
from crossdock.systems.paging import Malformed, Page, Split

ROOT = "/v1/"  # what a link without a host is relative to
PORTS = {"http": 80, "https": 443}
DENIED = b"Authorization has been denied"
_OF_LOGIN = re.compile(rb"denied|unauthori[sz]ed|token|expired", re.IGNORECASE)  # in a refusal that says 200


def text(value: str) -> str:
    """A string or the name of an enum member, as it stands in a filter: quoted, single quotes doubled."""
    return "'" + value.replace("'", "''") + "'"


def folded(value: str) -> str:
    """A text as v1 compares it: without case."""
    return value.strip().casefold()


def moment(value: datetime) -> str:
    """A moment in a filter: not quoted, in whole seconds."""
    return times.write(value.replace(microsecond=0))


def every(*conditions: str) -> str | None:
    """All of the conditions; None where none is given."""
    return " and ".join(each for each in conditions if each) or None


def some(conditions: Iterable[str]) -> str:
    """One of the conditions, in brackets; "" where none is given."""
    given = list(conditions)
    return given[0] if len(given) == 1 else f"({' or '.join(given)})" if given else ""


class Envelope(msgspec.Struct):
    """A page, or a refusal in its place."""

    value: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    next: str | None = msgspec.field(name="@odata.nextLink", default=None)
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    Message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_envelope = msgspec.json.Decoder(Envelope)


def pages(http: Http, path: str, query: Mapping[str, Any], connection: Connection, limits: Limits) -> Iterator[Page]:
    """A list from its first page by its nextLink to the end, as received. BadResponse for a link that repeats or leads
    to another server, ConfigError for a list or filter that does not exist."""
    place = path  # of the page before: a link may be relative to it

    def fetch(link: str | None) -> Split:
        nonlocal place
        read = paging.patient(page, limits.tries)
        if link is None:
            return http.request("GET", path, read, query=query)
        place = on_own_server(link, place, connection, path)
        return http.request("GET", place, read)

    return paging.follow(fetch, connection, path, limits)


def by_key(
    http: Http, path: str, query: Mapping[str, Any], where: str | None, connection: Connection, limits: Limits
) -> Iterator[Split]:
    """A list in the order of its IDs, page by page: each page begins behind the last ID of the one before, so that rows
    that change, come or go meanwhile move no other row out of sight, as they do where pages are counted. A row may come
    twice.

    BadResponse where the rows are not sorted by ID, ConfigError for a list or filter that does not exist."""
    last: int | None = None
    link: str | None = None
    for _ in range(limits.most_pages):
        read = paging.patient(page, limits.tries)
        try:
            if link:
                split = http.request("GET", link, read)
            else:
                behind = "" if last is None else f"ID gt {last}"
                split = http.request(
                    "GET", path, read, query={**query, "$filter": every(where or "", behind), "$orderby": "ID"}
                )
        except RecordRejected as refused:
            raise paging.refused_list(refused, connection, path) from None
        ids = [one for one in map(id_of, split.records) if one is not None]
        if ids != sorted(ids):
            raise paging.endless_list(
                connection, path, "its rows are not in the order of their IDs, as they were asked for"
            )
        goes_on = bool(ids) and (last is None or ids[-1] > last)
        following = on_own_server(split.next, link or path, connection, path) if split.next and not ids else None
        if split.next and not goes_on and (following is None or following == link):
            raise paging.endless_list(connection, path, "its next page holds no row that was not there before")
        yield split
        if not split.next:
            return
        last, link = (ids[-1], None) if goes_on else (last, following)
    raise paging.endless_list(connection, path, f"there is a page after the {limits.most_pages:,} that are allowed")


def on_own_server(link: str, place: str, connection: Connection, what: str) -> str:
    """The whole address of a link on the connection's own server, for no other one gets the login. `place`: the page
    that it stands on. A link without a host is relative to the API, or to its page where it is a query alone. One that
    names the own host with another scheme, as gateways that end TLS let servers write it, is followed by the
    connection's. BadResponse for another host."""
    base = connection.base_url
    page_at = place if "://" in place else base + place
    try:
        parts, own = urlsplit(urljoin(page_at if link.startswith("?") else base + ROOT, link)), urlsplit(base)
        ports = (None, own.port or PORTS.get(own.scheme), PORTS.get(parts.scheme))
        is_own = (parts.hostname or "").lower() == (own.hostname or "").lower() and parts.port in ports
    except ValueError:
        is_own = False
    if not is_own or "@" in parts.netloc or parts.scheme not in PORTS:
        raise paging.endless_list(connection, what, "nextLink leads to another server")
    path = parts.path if f"{parts.path}/".startswith(f"{own.path}/") else own.path + parts.path
    return f"{own.scheme}://{own.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


class _Id(msgspec.Struct):
    """The key of an entity."""

    ID: int


_id = msgspec.json.Decoder(_Id, strict=False)  # a number in quotes is that number


def id_of(entity: msgspec.Raw | bytes) -> int | None:
    """The ID of an entity; None where it cannot be read."""
    try:
        return _id.decode(entity).ID
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class _Changed(msgspec.Struct):
    """The date of an entity's last change."""

    UpdatedDateUtc: str | None = None


_changed = msgspec.json.Decoder(_Changed)


def changed(entity: msgspec.Raw | bytes, before: datetime) -> bool:
    """Whether an entity changed last before a moment, as far as it says."""
    try:
        updated = _changed.decode(entity).UpdatedDateUtc
        return updated is None or times.read(updated) < before
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return True


_LINK = "@odata.nextLink"
_any = msgspec.json.Decoder(float_hook=Decimal)
_encode = msgspec.json.Encoder(decimal_format="number").encode


def is_truncated(entity: msgspec.Raw | bytes) -> bool:
    """Whether a list inside an entity, at any depth, goes on at a link of its own."""
    if _LINK.encode() not in bytes(entity):
        return False
    try:
        return _has_link(msgspec.json.decode(entity))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _has_link(value: Any) -> bool:
    if isinstance(value, dict):
        return any(name.endswith(_LINK) or _has_link(each) for name, each in value.items())
    return isinstance(value, list) and any(map(_has_link, value))


def completed(entity: bytes, follow: Callable[[str], list[Any]]) -> bytes:
    """An entity with every list in it read to its end by its link. `follow` gives the rest of a list."""
    return _encode(_with_rest(_any.decode(entity), follow))


def _with_rest(value: Any, follow: Callable[[str], list[Any]]) -> Any:
    if isinstance(value, list):
        return [_with_rest(each, follow) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {name: each for name, each in value.items() if not name.endswith(_LINK)}
    for name, link in value.items():
        if name.endswith(_LINK):
            of = name.removesuffix(_LINK)
            plain[of] = [*(plain.get(of) or []), *follow(str(link))]
    return {name: _with_rest(each, follow) for name, each in plain.items()}


class _Disguise(msgspec.Struct):
    """The fields by which a 200 is known as a refusal."""

    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    Message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_disguise = msgspec.json.Decoder(_Disguise)


def entity(answer: Answer) -> bytes:
    """One entity as received. TokenRefused or Malformed for a refusal in its place."""
    not_denied(answer)
    marks = paging.decode(answer, _disguise)
    not_refused(marks.error, marks.Message)
    return answer.content


def page(answer: Answer, *, lenient: bool) -> Split:
    """One page with the server's clock. TokenRefused or Malformed for a refusal in its place."""
    not_denied(answer)
    read = paging.decode_page(answer, _envelope, "value", lenient=lenient)
    not_refused(read.error, read.Message)
    if read.value is msgspec.UNSET:
        raise Malformed("the list has no value")
    return Split(read.value, clock(answer), read.next or None)


def count(answer: Answer) -> int:
    """The number of rows, which stands alone in the body. Malformed for anything else."""
    not_denied(answer)
    text = answer.content.decode("utf-8-sig", "replace").strip()
    if not (text.isascii() and text.isdecimal()):
        raise Malformed("the count is no number")
    return int(text)


def clock(answer: Answer) -> datetime:
    """The server's clock: the Date header, which has whole seconds. Malformed when it is not there."""
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).astimezone(UTC)
    except (TypeError, ValueError):
        raise Malformed("it has no Date header, by which the clock is known") from None


def not_refused(*marks: msgspec.Raw | msgspec.UnsetType) -> None:
    """Raises where a success holds one of these marks of a refusal: TokenRefused where it is about the login, else
    Malformed, for such an answer passes."""
    for mark in marks:
        if mark is not msgspec.UNSET and bytes(mark) != b"null":
            if _OF_LOGIN.search(bytes(mark)):
                raise TokenRefused
            raise Malformed("it is an error that says it is a success")


def not_denied(answer: Answer) -> None:
    """TokenRefused for a refusal with 200 in plain text, whatever it declares."""
    if not answer.is_json and DENIED in answer.content[:500]:
        raise TokenRefused
