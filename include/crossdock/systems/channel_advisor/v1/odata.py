"""The OData of v1: filters and literals, the envelope of a page, the link to the next one, the clock.

In: query options; the bytes of an answer. Out: `Split` pages as received, texts for `$filter`.
Never: a counted page (`$skip`); a link to another origin; a page without a Date header.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec

from crossdock.errors import RecordRejected
from crossdock.systems import paging, times
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Http, TokenRefused
from crossdock.systems.limits import Limits
from crossdock.systems.paging import Malformed, Page, Split

DENIED = b"Authorization has been denied"


def text(value: str) -> str:
    """A string or the name of an enum member, as it stands in a filter: quoted, single quotes doubled."""
    return "'" + value.replace("'", "''") + "'"


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
    """A list from its first page by its nextLink to the end, as received. BadResponse for a link that repeats or leaves
    the connection's origin, ConfigError for a list or filter that does not exist."""

    def fetch(link: str | None) -> Split:
        read = paging.patient(page, limits.tries)
        if link is None:
            return http.request("GET", path, read, query=query)
        if _origin(link) != _origin(connection.base_url):
            raise paging.endless_list(connection, path, "nextLink leads to another server")
        return http.request("GET", link, read)

    return paging.follow(fetch, connection, path, limits)


def by_key(
    http: Http, path: str, query: Mapping[str, Any], where: str | None, connection: Connection, limits: Limits
) -> Iterator[Split]:
    """A list in the order of its IDs, page by page: each page begins behind the last ID of the one before, so that rows
    that change, come or go meanwhile move no other row out of sight, as they do where pages are counted.

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
        if sorted({*ids, *(() if last is None else (last,))}) != ([] if last is None else [last]) + ids:
            raise paging.endless_list(
                connection, path, "its rows are not in the order of their IDs, as they were asked for"
            )
        yield split
        if not split.next:
            return
        if ids:
            last, link = ids[-1], None
        elif _origin(split.next) != _origin(connection.base_url) or split.next == link:
            raise paging.endless_list(connection, path, "nextLink leads nowhere")
        else:
            link = split.next
    raise paging.endless_list(connection, path, f"there is a page after the {limits.most_pages:,} that are allowed")


class _Id(msgspec.Struct):
    """The key of an entity."""

    ID: int


_id = msgspec.json.Decoder(_Id)


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
    """One entity as received. TokenRefused for a refusal in its place."""
    not_denied(answer)
    marks = paging.decode(answer, _disguise)
    if marks.error is not msgspec.UNSET or marks.Message is not msgspec.UNSET:
        raise TokenRefused
    return answer.content


def page(answer: Answer, *, lenient: bool) -> Split:
    """One page with the server's clock. TokenRefused for a refusal in its place."""
    not_denied(answer)
    read = paging.decode_page(answer, _envelope, "value", lenient=lenient)
    if read.error is not msgspec.UNSET or read.Message is not msgspec.UNSET:
        raise TokenRefused
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


def not_denied(answer: Answer) -> None:
    """TokenRefused for a refusal with 200 in plain text, whatever it declares."""
    if not answer.is_json and DENIED in answer.content[:500]:
        raise TokenRefused


def _origin(url: str) -> tuple[str, str, int | None, bool]:
    """Scheme, host, port, and whether somebody else's login is in it."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", "", None, True)
    return (parts.scheme, (parts.hostname or "").lower(), port, "@" in parts.netloc)
