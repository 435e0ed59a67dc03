"""Amounts, times and field errors.

In: decoded JSON (ints, exact decimals, text). Out: amounts with 4 decimals, times in UTC, refused fields by name.
Never: a float, a rounded amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from sandbox.kernel import clock
from sandbox.kernel.contract import Finding, unescape

PLACES = Decimal("0.0001")
ZERO = Decimal("0.0000")
MOST_MONEY = 10**10  # bounds of the sandbox, so that every total fits the 28 digits of a decimal
MOST_UNITS = 10**9
_INT64 = 1 << 63
_EARLIEST = clock.parse("0001-01-01")
_LATEST = clock.parse("9999-12-31T23:59:59.9999999Z")
_CODES = {"additionalProperties": "UnknownField", "required": "MissingField"}


class Refused(Exception):
    """A document breaks rules of the contract: one entry of `errors` (FieldError) for each."""

    def __init__(self, errors: Sequence[dict[str, str]], *, status: int = 422) -> None:
        super().__init__("; ".join(f"{error['Field']}: {error['Message']}" for error in errors))
        self.errors, self.status = list(errors), status


def field_error(field: str, code: str, message: str) -> dict[str, str]:
    return {"Field": field, "Code": code, "Message": message}


def field_errors(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings of the contract as the errors of a document's fields."""
    return [field_error(field_path(f.pointer), _CODES.get(f.keyword, "InvalidValue"), f.message) for f in findings]


def field_path(pointer: str) -> str:
    """`/Items/0/Quantity` as `Items[0].Quantity`."""
    path = ""
    for part in map(unescape, pointer.split("/")[1:]):
        path += f"[{part}]" if part.isdigit() else f".{part}" if path else part
    return path


def whole(value: Any) -> Any:
    """Decoded JSON with 3.0 as 3, because an integer may be written so. ValueError for a number beyond 64 bits."""
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [whole(each) for each in value]
    if isinstance(value, (int, Decimal)) and not -_INT64 < value < _INT64:
        raise ValueError("a number is out of range.")
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


def exact(value: int | Decimal) -> Decimal:
    """The amount with 4 decimals. ValueError for more decimals, or for more than the sandbox takes."""
    if not -MOST_MONEY < value < MOST_MONEY:
        raise ValueError(f"{value} is out of range.")
    amount = Decimal(value).quantize(PLACES)
    if amount != value:
        raise ValueError(f"{value} has more than 4 decimals.")
    return amount


def amounts(
    sent: dict[str, Any], names: Iterable[str], path: str = ""
) -> tuple[dict[str, Decimal | None], list[dict[str, str]]]:
    """The amounts of a document that were given, null as it is, and an error for each that is none or is negative."""
    money: dict[str, Decimal | None] = {}
    errors = []
    for name in names:
        if name not in sent:
            continue
        try:
            money[name] = None if sent[name] is None else exact(sent[name])
        except ValueError as error:
            errors.append(field_error(path + name, "InvalidAmount", str(error)))
            continue
        if (money[name] or ZERO) < 0:
            errors.append(field_error(path + name, "NegativeAmount", "An amount must not be negative."))
    return money, errors


def moment(text: str) -> int:
    """Ticks of an RFC 3339 time or date of the years 1 to 9999, UTC. ValueError for any other text."""
    ticks = clock.parse(text)
    if not _EARLIEST <= ticks <= _LATEST:
        raise ValueError(f"{text!r} is out of range.")
    return ticks


def utc(text: str) -> str:
    """A time as answers give it: UTC, at most 7 fractional digits, no trailing zeros."""
    return clock.text(moment(text))


def patched(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396), except that null stays as null: "not given" is a value here."""
    result = dict(document)
    for name, value in patch.items():
        old = result.get(name)
        result[name] = patched(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
