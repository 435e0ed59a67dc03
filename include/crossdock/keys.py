"""Makes safe names of foreign text: idempotency keys, parts of a path, file names.

In: any text. Out: text that the place accepts: equal for equal texts, different for different ones.
Never: another name for a text that is safe already: effects delivered under it would be delivered again.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import quote

LONGEST = 128  # characters of an Idempotency-Key, by the contract
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_MADE = re.compile(r".*~[0-9a-f]{32}", re.DOTALL)  # a name that was made here


def idempotency(name: str) -> str:
    """An Idempotency-Key: `name` itself where the contract allows it, else its beginning, percent-encoded, and its
    hash. A name that looks like such a key is hashed, too, so that no buyer's id can equal another one's key."""
    if len(name) <= LONGEST and _PRINTABLE.fullmatch(name) and not _MADE.fullmatch(name):
        return name
    data = name.encode("utf-8", "surrogatepass")
    shown = re.sub(r"%[0-9A-F]?$", "", quote(data, safe="!#$&'()*+,/:;=?@[]")[: LONGEST - 33])
    return f"{shown}~{sha256(data).hexdigest()[:32]}"


def fitting(text: str, most: int) -> str:
    """An id of at most `most` characters: the text itself where it fits, else its beginning and its hash."""
    if len(text) <= most and not _MADE.fullmatch(text):
        return text
    return f"{text[: most - 33]}~{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def segment(text: object) -> str:
    """Escapes one part of a URL's path, so that it cannot lead anywhere else. Raises ValueError for an empty text."""
    made = quote(str(text), safe="")
    if not made:
        raise ValueError("An empty name leads to the list around it")
    return made.replace(".", "%2E") if set(made) == {"."} else made


def file_name(text: str) -> str:
    """Checks the name of a file in a folder. Raises ValueError for one that leads out of it."""
    if text in ("", ".", "..") or "/" in text or "\\" in text or "\0" in text:
        raise ValueError(f"{text[:60]!r} is no name of a file")
    return text
