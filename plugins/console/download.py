"""Downloads: files that are sent while they are made, however long they are.

In: what makes the text on a connection, piece by piece. Out: an answer that begins at once and needs the memory of a
piece. Never: a file that ends early and looks whole: where it cannot be made to its end, the connection is broken off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

from console.database import reading

if TYPE_CHECKING:
    import sqlalchemy as sa

    from crossdock.services.people import Person

PIECE = 1 << 16  # characters that are sent together


def download(
    person: Person, name: str, kind: str, make: Callable[[sa.Connection], Iterator[str]]
) -> StreamingResponse:  # fmt: skip
    """The answer with the file `name`. `kind`: its media type. What is wrong with the request is said in words: the
    first piece is made before anything is sent."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    pieces = _pieces(person, make)
    first = next(pieces)
    return StreamingResponse(chain([first], pieces), media_type=kind, headers=headers)


def _pieces(person: Person, make: Callable[[sa.Connection], Iterator[str]]) -> Iterator[bytes]:
    """The first text by itself, then texts by the piece."""
    with reading(person) as connection:
        waiting, size, enough = [], 0, 1
        for text in make(connection):
            waiting.append(text)
            size += len(text)
            if size >= enough:
                yield "".join(waiting).encode()
                waiting, size, enough = [], 0, PIECE
        yield "".join(waiting).encode()
