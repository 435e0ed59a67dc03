"""How this installation of TIMS speaks: include/config/tims.yaml.

In: the file. Out: one `Adaptation`, where what the file does not say is as include/contracts/tims.yaml says.
Never: a name that the contract does not have; a form in which a moment or an amount could be taken for another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from crossdock import config
from crossdock.config import Place, Scalar, Struct, Written, did_you_mean
from crossdock.settings import config_dir
from crossdock.systems.tims import contract

FILE = "tims.yaml"
RFC3339 = "rfc3339"
_PLACES = re.compile(r"\{(\w+)\}")
_METHODS = ("GET", "POST", "PUT", "PATCH")
_SAMPLE = datetime(2031, 11, 28, 21, 43, 56, tzinfo=UTC)

Problems = Iterator[tuple[str | Place, str]]
Path = Annotated[str, Meta(pattern="^(/[^/?#{}\\s]+)*$", description="a path such as /api/v1")]
Offset = Annotated[str, Meta(pattern=r"^[+-]\d\d:\d\d$", description="an offset such as '+01:00'")]
Count = Annotated[int, Meta(ge=1)]


class Login(Struct, frozen=True):
    """How a request proves who sends it. Login and password, or the key as password, are those of the connection."""

    kind: Literal["client_credentials", "basic", "api_key"] = "client_credentials"
    token_path: Path = "/oauth2/token"  # noqa: S105 - a path, not a secret
    header: str = "X-API-Key"


class Abilities(Struct, frozen=True):
    """What an installation can do. Of a header its name, empty where there is none."""

    bulk: bool = True
    idempotency_header: str = "Idempotency-Key"
    etag: bool = True
    external_references: bool = True


class Forms(Struct, frozen=True):
    """How values are written. `moment` and `day`: strftime's codes, or rfc3339."""

    moment: str = RFC3339
    utc_offset: Offset = "+00:00"
    day: str = "%Y-%m-%d"
    amounts: Literal["text", "number"] = "text"
    decimal_mark: Literal[".", ","] = "."
    integers: Literal["number", "text"] = "number"
    true_as: Scalar = True
    false_as: Scalar = False

    def problems(self) -> Problems:
        if self.moment != RFC3339 and not _holds(self.moment, _SAMPLE):
            yield "moment", f"moment {self.moment!r} does not hold a moment to the second; write %Y-%m-%d %H:%M:%S"
        if not _holds(self.day, _SAMPLE.replace(hour=0, minute=0, second=0)):
            yield "day", f"day {self.day!r} does not hold year, month and day; write %Y-%m-%d"
        if self.true_as == self.false_as and type(self.true_as) is type(self.false_as):
            yield "false_as", "true_as and false_as are alike; give each its own"
        if self.amounts == "number" and self.decimal_mark != ".":
            yield "decimal_mark", "amounts that are numbers have a point in JSON; write amounts: text, or take it away"


class Lists(Struct, frozen=True):
    """How a list is read. `rows`, `next` and `server_time`: where they stand in an answer, with points between."""

    rows: str = "Items"
    paging: Literal["cursor", "page", "offset"] = "cursor"
    next: str = "NextCursor"
    first: Annotated[int, Meta(ge=0)] = 1
    most: Count = 500
    server_time: str = "ServerTime"
    always: dict[str, Written] = msgspec.field(default_factory=dict)
    many_values: Annotated[int, Meta(ge=1, le=100)] = 100

    def problems(self) -> Problems:
        if not self.rows:
            yield "rows", "rows is empty; say where the rows of a list stand in its answer"
        if self.paging == "cursor" and not self.next:
            yield "next", "paging by cursor needs `next`: where the next cursor stands in an answer"


class Errors(Struct, frozen=True):
    """How a refusal speaks: where its parts stand, with points between. `codes`: a code here: the contract's."""

    code: str = "code"
    text: str = "detail"
    existing: str = "ExistingID"
    fields: str = "errors"
    field: str = "pointer"
    field_code: str = "code"
    field_text: str = "message"
    codes: dict[Written, str] = msgspec.field(default_factory=dict)

    def problems(self) -> Problems:
        valid = contract.error_codes()
        for word, code in self.codes.items():
            if code not in valid:
                yield ("codes", word), f"the contract has no error code {code!r}{did_you_mean(code, valid) or ''}"


class Adaptation(Struct, frozen=True):
    """The whole file. Names are those of the contract; what stands behind them is how it is called here, nothing for
    what is not there."""

    base: Path = "/api/v1"
    login: Login = Login()
    abilities: Abilities = Abilities()
    lists: Lists = Lists()
    forms: Forms = Forms()
    errors: Errors = Errors()
    names: Literal["contract", "snake_case", "camelCase"] = "contract"
    operations: dict[str, str] = msgspec.field(default_factory=dict)
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    documents: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    codes: dict[str, dict[str, Scalar]] = msgspec.field(default_factory=dict)

    @property
    def is_contract(self) -> bool:
        """Whether nothing is adapted: documents are taken and given out as they are."""
        return self == Adaptation()

    def name_of(self, document: str, path: str) -> str:
        """What the field at a path of a document is called here; empty where it is not there."""
        own = self.documents.get(contract.base_name(document), {})
        word = path.rpartition(".")[2]
        return own.get(path, self.fields.get(word, self.written(word)))

    def parameter(self, name: str) -> str:
        """What a parameter of a query is called here; empty where it is not there."""
        return self.parameters.get(name, self.fields.get(name, self.written(name)))

    def written(self, word: str) -> str:
        """A word of the contract by the rule `names`."""
        if self.names == "contract":
            return word
        parts = re.findall(r"[A-Z]+s?(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+", word)
        if self.names == "snake_case":
            return "_".join(parts).lower()
        return "".join([parts[0].lower(), *(part.capitalize() for part in parts[1:])])

    def route(self, operation: contract.Operation) -> tuple[str, str]:
        """Method and path of an operation here, with its {places}; the method is empty where it is not there."""
        stated = self.operations.get(operation.id)
        if stated is None:
            return operation.method, f"{self.base}/{operation.path}"
        method, _, path = stated.partition(" ")
        return method, f"{self.base}{path.strip()}"

    def problems(self) -> Problems:
        operations = contract.operations()
        yield from _unknown("operations", "operation", self.operations, operations)
        for name, stated in self.operations.items():
            if name in operations and stated and (wrong := _wrong_route(stated, operations[name])):
                yield ("operations", name), f"{name} is {stated!r}{wrong}"
        yield from _unknown("parameters", "parameter of a list", self.parameters, contract.parameters())
        words = {path.rpartition(".")[2] for name in contract.documents() for path, _ in contract.fields(name)}
        yield from _unknown("fields", "field", self.fields, words)
        yield from _unknown("documents", "document", self.documents, contract.documents())
        for name, given in self.documents.items():
            if name in contract.documents():
                paths = [path for path, _ in contract.fields(name)]
                yield from _unknown(("documents", name), f"field of {name}", given, paths)
                yield from self._two_with_one_name(name)
        yield from _unknown("codes", "field", self.codes, words)
        for word, table in self.codes.items():
            yield from self._wrong_codes(word, table)
        if self.lists.paging != "cursor" and not self.parameter("Cursor"):
            yield (
                "parameters",
                f"paging by {self.lists.paging} needs a name for Cursor: where the {self.lists.paging} goes",
            )

    def _two_with_one_name(self, document: str) -> Problems:
        seen: dict[tuple[str, str], str] = {}
        for path, _ in contract.fields(document):
            parent = path.rpartition(".")[0]
            name = self.name_of(document, path)
            other = seen.setdefault((parent, name), path)
            if name and other != path and self.documents[document].get(path, self.documents[document].get(other)):
                yield ("documents", document), f"{other} and {path} have one name, {name!r}; give each its own"

    def _wrong_codes(self, word: str, given: dict[str, Any]) -> Problems:
        valid = contract.codes(word)
        for code in given:
            if valid and code not in valid:
                yield ("codes", word, code), f"{word} has no code {code!r}{did_you_mean(code, valid) or ''}"
        written = [str(one) for one in given.values()]
        if twice := next((one for one in written if written.count(one) > 1), None):
            yield ("codes", word), f"two codes of {word} are {twice!r} here; which one is read could not be known"


def _holds(form: str, moment: datetime) -> bool:
    """Whether a text of this form says the whole moment."""
    try:
        found = datetime.strptime(moment.strftime(form), form)
    except ValueError:
        return False
    return found.replace(tzinfo=UTC) == moment


def _wrong_route(stated: str, operation: contract.Operation) -> str:
    method, _, path = stated.partition(" ")
    if method not in _METHODS or not path.startswith("/"):
        return f"; write a method and a path below `base`, such as {operation.method} /{operation.path}"
    there, here = set(_PLACES.findall(operation.path)), set(_PLACES.findall(path))
    if there != here:
        return f"; its places are {', '.join(f'{{{one}}}' for one in sorted(there)) or 'none'}"
    return ""


def _unknown(place: str | Place, what: str, given: Iterable[str], valid: Iterable[str]) -> Problems:
    at = (place,) if isinstance(place, str) else place
    for word in given:
        if word not in valid:
            yield (*at, word), f"the contract has no {what} {word!r}{did_you_mean(word, valid) or ''}"


def read() -> config.File[Adaptation]:
    return config.read(config_dir() / FILE, Adaptation)


def load() -> Adaptation:
    """The adaptation in force. Raises ConfigError with file and line for all that is wrong with it."""
    return config.load(config_dir() / FILE, Adaptation)
