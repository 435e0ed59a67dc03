"""Documents of TIMS both ways: by the contract, and as this installation writes them.

In: an adaptation, documents of the contract or of the installation. Out: the other ones; both ways lead back to the
same document. Never: a value that does not have the stated form taken for one of the contract: it is marked, so that
the contract refuses it by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from crossdock.errors import RecordRejected, Refusal
from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document, Field
from crossdock.systems import times
from crossdock.systems.tims import contract
from crossdock.systems.tims.adaptation import RFC3339, Adaptation, Forms

Value = Callable[[Any], Any]
_DECIMAL = re.compile(r"\^(-\?)?\[0-9\]\{1,\d+\}\\\.\[0-9\]\{(\d)(?:,\d)?\}\$")  # patterns of decimals in the contract
_WHOLE = re.compile(r"-?\d{1,18}")
_STEPS = re.compile(r"[^/.\[\]]+")
UNREADABLE = "unreadable: "  # begins a value that does not have the form that the adaptation states


@dataclass
class Shape:
    """One kind of object: its fields by the contract's name and by the name here, each with how its value goes."""

    here: dict[str, tuple[str, Value, Shape | None]] = field(default_factory=dict)
    contract: dict[str, tuple[str, Value, Shape | None]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    def to_here(self, document: Any, place: str = "") -> Any:
        """A document as this installation writes it. Raises RecordRejected for a value that has no field there."""
        if not isinstance(document, dict):
            return document
        made = {}
        for name, value in document.items():
            if name in self.absent:
                if value is not None:
                    raise _no_field(f"{place}/{name}")
                continue
            other, write, below = self.here.get(name, (name, _same, None))
            made[other] = _each(value, partial(below.to_here, place=f"{place}/{name}") if below else write)
        return made

    def to_contract(self, document: Any) -> Any:
        """A document of this installation by the contract. What it has besides stays as it is."""
        if not isinstance(document, dict):
            return document
        made = {}
        for name, value in document.items():
            found = self.contract.get(name)
            if found is not None:
                made[found[0]] = _each(value, found[2].to_contract if found[2] else found[1])
        for name, value in document.items():
            if name not in self.contract:
                made.setdefault(name, value)
        if "RowVersion" in self.absent and isinstance(made.get("ModifiedAt"), str):
            made["RowVersion"] = version_of(made["ModifiedAt"])
        return made

    def pointer(self, place: str) -> str:
        """The JSON pointer, by the contract, of a field that a refusal names in any notation."""
        made, shape = "", self
        for step in _STEPS.findall(place):
            name, _, below = shape.contract.get(step, (step, _same, None))
            made += f"/{name}"
            shape = below or (shape if step.isdigit() else Shape())
        return made


def _each(value: Any, change: Value) -> Any:
    """A value, or each value of a list."""
    if isinstance(value, list):
        return [_each(one, change) for one in value]
    return None if value is None else change(value)


def _same(value: Any) -> Any:
    return value


def _no_field(place: str) -> RecordRejected:
    text = "this TIMS has no field for it"
    return RecordRejected(
        f"TIMS has no field for {place}.",
        status=422,
        code="UNKNOWN_FIELD",
        refusals=[Refusal(place, "UNKNOWN_FIELD", text)],
        do="Take the field out of the mapping, or name it in include/config/tims.yaml.",
        system=contract.SYSTEM,
    )


def version_of(modified: str) -> int:
    """A RowVersion of a document without one: microseconds of its last change."""
    try:
        return int(times.read(modified).timestamp() * 1_000_000)
    except ValueError:
        return 0


class Translation:
    """All documents of one adaptation."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.adaptation = adaptation
        self.forms = Written(adaptation.forms)
        self._shapes: dict[str, Shape] = {"": Shape()}

    def shape(self, schema: str) -> Shape:
        """The shape of a schema's documents."""
        if schema not in self._shapes:
            self._shapes[schema] = self._shape_of(schema, contracts.document(contract.SYSTEM, schema))
        return self._shapes[schema]

    def _shape_of(self, schema: str, document: Document, prefix: str = "", lists: str = "") -> Shape:
        """`prefix`: the object within the document; `lists`: the lists around the document."""
        made, absent = Shape(), set()
        for path, one in document.fields.items():
            name = path.removeprefix(prefix)
            if not path.startswith(prefix) or "." in name:
                continue
            other = self.adaptation.name_of(schema, lists + path)
            if not other:
                absent.add(name)
                continue
            below = None
            if one.items is not None:
                below = self._shape_of(schema, one.items, lists=f"{lists}{path}.")
            elif one.type == "object":
                below = self._shape_of(schema, document, f"{path}.", lists)
            there, back = self._leaf(name, one)
            made.here[name] = (other, there, below)
            made.contract[other] = (name, back, below)
        made.absent = frozenset(absent)
        return made

    def _leaf(self, name: str, one: Field) -> tuple[Value, Value]:
        """How a value goes there, and how it comes back."""
        if codes := self.adaptation.codes.get(name):
            back = {str(value): code for code, value in codes.items()}
            return (lambda value: codes.get(value, value)), (lambda value: back.get(str(value), value))
        if decimal := _DECIMAL.fullmatch(one.pattern or ""):
            places = int(decimal[2])
            return self.forms.amount, lambda value: self.forms.read_amount(value, places)
        forms: dict[str, tuple[Value, Value]] = {
            "moment": (self.forms.moment, self.forms.read_moment),
            "date": (self.forms.day, self.forms.read_day),
            "integer": (self.forms.integer, self.forms.read_integer),
            "boolean": (self.forms.flag, self.forms.read_flag),
            "text": (_same, _text),
        }
        return forms.get(one.type, (_same, _same))

    def dated(self, document: Any) -> Any:
        """A document of an installation that tells the last change to the second only has its version in the parts of
        the second: so the later one of two changes within a second is the newer one."""
        if self.forms.resolution < timedelta(seconds=1) or not isinstance(document, dict):
            return document
        at, version = document.get("ModifiedAt"), document.get("RowVersion")
        if isinstance(at, str) and len(at) == len("2011-01-31T13:05:09Z") and isinstance(version, int):
            document["ModifiedAt"] = f"{at[:-1]}.{version % 1_000_000:06}Z"
        return document

    def parameter(self, name: str, value: Any) -> Any:
        """A value of a filter as it is written here; a list each."""
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.parameter(name, one) for one in value]
        if isinstance(value, bool):
            return self.forms.flag(value)
        if name in ("AsOf", "Date"):
            return self.forms.day(value)
        return self.adaptation.codes.get(name, {}).get(value, value)


@dataclass(frozen=True)
class Written:
    """Values by the forms of an adaptation."""

    forms: Forms

    @property
    def zone(self) -> timezone:
        sign = -1 if self.forms.utc_offset.startswith("-") else 1
        hours, minutes = map(int, self.forms.utc_offset[1:].split(":"))
        return timezone(sign * timedelta(hours=hours, minutes=minutes))

    @property
    def resolution(self) -> timedelta:
        """The shortest time that a moment here can tell from another."""
        whole = self.forms.moment != RFC3339 and "%f" not in self.forms.moment
        return timedelta(seconds=1) if whole else timedelta(microseconds=1)

    def floor(self, moment: datetime) -> datetime:
        """The last moment up to this one that can be written."""
        return moment.replace(microsecond=0) if self.resolution >= timedelta(seconds=1) else moment

    def ceiling(self, moment: datetime) -> datetime:
        """The first moment from this one on that can be written."""
        floor = self.floor(moment)
        return floor if floor == moment else floor + self.resolution

    def moment_of(self, moment: datetime) -> str:
        if self.forms.moment == RFC3339:
            return times.write(moment)
        return moment.astimezone(self.zone).strftime(self.forms.moment)

    def moment(self, text: Any) -> Any:
        if self.forms.moment == RFC3339 or not isinstance(text, str):
            return text
        try:
            return self.moment_of(times.read(text))
        except ValueError:
            return text

    def read_moment(self, text: Any) -> Any:
        if self.forms.moment == RFC3339:
            return text
        try:
            found = datetime.strptime(text, self.forms.moment)
            return times.write(found if found.tzinfo else found.replace(tzinfo=self.zone))
        except (ValueError, TypeError, OverflowError):
            return _unreadable(text)

    def day(self, text: Any) -> Any:
        try:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).strftime(self.forms.day)
        except (ValueError, TypeError):
            return text

    def read_day(self, text: Any) -> Any:
        try:
            return datetime.strptime(text, self.forms.day).replace(tzinfo=UTC).strftime("%Y-%m-%d").rjust(10, "0")
        except (ValueError, TypeError):
            return _unreadable(text)

    def amount(self, text: Any) -> Any:
        if isinstance(text, Decimal):
            text = str(text)
        if not isinstance(text, str):
            return text
        if self.forms.amounts == "number":
            try:
                return Decimal(text)
            except InvalidOperation:
                return text
        return text.replace(".", self.forms.decimal_mark)

    def read_amount(self, value: Any, places: int) -> Any:
        """By the contract: a text with a point and at least so many places."""
        mark = self.forms.decimal_mark
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            text = f"{value:f}" if isinstance(value, Decimal) else str(value)
        elif isinstance(value, str) and re.fullmatch(rf"-?\d+(\{mark}\d+)?", value):
            text = value.replace(mark, ".")
        else:
            return _unreadable(value)
        whole, _, fraction = text.partition(".")
        return f"{whole}.{fraction:0<{places}}"

    def integer(self, value: Any) -> Any:
        return str(value) if self.forms.integers == "text" and type(value) is int else value

    def read_integer(self, value: Any) -> Any:
        if isinstance(value, str) and _WHOLE.fullmatch(value) and self.forms.integers == "text":
            return int(value)
        return value

    def flag(self, value: Any) -> Any:
        return {True: self.forms.true_as, False: self.forms.false_as}[value] if isinstance(value, bool) else value

    def read_flag(self, value: Any) -> Any:
        for written, meant in ((self.forms.true_as, True), (self.forms.false_as, False)):
            if value == written and isinstance(value, bool) == isinstance(written, bool):
                return meant
        return _unreadable(value)


def _text(value: Any) -> Any:
    """A number where the contract has a text, as ids may be."""
    return str(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value


def _unreadable(value: Any) -> str:
    return f"{UNREADABLE}{value}"


def dig(document: Any, path: str) -> Any:
    """What stands at a path with points in a document; None where nothing does."""
    for step in path.split(".") if path else ():
        if not isinstance(document, Mapping):
            return None
        document = document.get(step)
    return document
