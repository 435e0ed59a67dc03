"""The OData of v1: filters and literals, the envelope of a page, the link to the next one, the clock.

In: query options; the bytes of an answer. Out: `Split` pages as received, texts for `$filter`.
Never: a computed nextLink or one to another origin; a page without a Date header.
"""

from __future__ import annotations

import email.utils
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

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


def page(answer: Answer, *, lenient: bool) -> Split:
    """One page with the server's clock. TokenRefused for a refusal in its place."""
    not_denied(answer)
    read = paging.decode_page(answer, _envelope, "value", lenient=lenient)
    if read.error is not msgspec.UNSET or read.Message is not msgspec.UNSET:
        raise TokenRefused
    if read.value is msgspec.UNSET:
        raise Malformed("the list has no value")
    return Split(read.value, clock(answer), read.next or None)


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
