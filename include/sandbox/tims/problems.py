"""Refusals as the contract writes them: problem+json with a code, and every error of a document together.

In: findings of the contract's schemas, and errors of the rules. Out: `Refusal`s and problem documents. Never: personal
data in `detail`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.kernel.contract import Contract, Finding
from sandbox.kernel.http import Answer, Refusal

_KERNEL = {
    "invalid_token": "INVALID_TOKEN",
    "insufficient_scope": "INSUFFICIENT_SCOPE",
    "rate_limited": "RATE_LIMITED",
    "too_large": "PAYLOAD_TOO_LARGE",
    "not_found": "NOT_FOUND",
    "method_not_allowed": "METHOD_NOT_ALLOWED",
    "unsupported_media_type": "UNSUPPORTED_MEDIA_TYPE",
    "malformed_body": "MALFORMED_BODY",
    "invalid_parameter": "INVALID_PARAMETER",
    "invalid_cursor": "INVALID_CURSOR",
    "internal": "INTERNAL_ERROR",
}
_KEYWORDS = {
    "required": "MISSING_FIELD",
    "minLength": "MISSING_FIELD",
    "additionalProperties": "UNKNOWN_FIELD",
    "maxLength": "FIELD_TOO_LONG",
    "maxItems": "FIELD_TOO_LONG",
    "type": "INVALID_TYPE",
    "pattern": "INVALID_FORMAT",
    "format": "INVALID_FORMAT",
}
_COUNTED = {"Quantity", "QuantityDelta", "OnHand"}
_MONEY = re.compile(r"\^-?\??\[0-9\]\{1,13\}")  # how the contract's money patterns begin


@dataclass(frozen=True)
class Error:
    """One error of a document."""

    pointer: str
    code: str
    message: str


class Errors:
    """The errors of one document, collected to be reported together."""

    def __init__(self) -> None:
        self._found: list[Error] = []
        self._facts: dict[str, Any] = {}

    def add(self, pointer: str, code: str, message: str, **facts: Any) -> None:
        """`facts` stand beside the errors in the refusal."""
        self._facts |= facts
        if not any(e.pointer == pointer and e.code == code for e in self._found):
            self._found.append(Error(pointer, code, message))

    def take(self, findings: Sequence[Finding], required: frozenset[str]) -> None:
        """Findings of a schema as errors. `required`: fields that the document may never be without."""
        for finding in findings:
            self.add(finding.pointer, code_of(finding, required), finding.message)

    def refuse(self) -> None:
        """Raise 422 when there is any error."""
        if not self._found:
            return
        missing = {e.pointer for e in self._found if e.code == "MISSING_FIELD"}
        errors = [e for e in self._found if e.code == "MISSING_FIELD" or e.pointer not in missing]
        codes = {e.code for e in errors}
        code = codes.pop() if len(codes) == 1 else "VALIDATION_FAILED"
        detail = f"{len(errors)} error{'s' * (len(errors) > 1)}."
        raise Refusal(422, code, detail, findings=errors, **self._facts)


def code_of(finding: Finding, required: frozenset[str]) -> str:
    """The contract's code for a value's violation of its schema."""
    if finding.keyword == "type" and finding.value is None and finding.name in required:
        return "MISSING_FIELD"
    if finding.keyword in ("minimum", "not") and finding.name in _COUNTED:
        return "INVALID_QUANTITY"
    if finding.keyword == "pattern" and finding.name == "CountryCode":
        return "INVALID_COUNTRY"
    if finding.keyword == "pattern" and finding.name == "CurrencyCode":
        return "INVALID_CURRENCY"
    if finding.keyword == "pattern" and _MONEY.match(str(finding.limit)) and _wrong_money(str(finding.value)):
        return "INVALID_AMOUNT"
    return _KEYWORDS.get(finding.keyword, "INVALID_VALUE")


def _wrong_money(text: str) -> bool:
    """Whether a text is money with a wrong sign or too many places only."""
    return bool(re.fullmatch(r"-\d{1,13}\.\d{2,}|\d{1,13}\.\d{3,}", text))


class Problems:
    """Writes refusals."""

    def __init__(self, contract: Contract) -> None:
        codes = contract.resolve({"$ref": "#/components/schemas/ErrorCode"})["oneOf"]
        self._status = {entry["const"]: int(entry["description"][:3]) for entry in codes}

    def answer(self, refusal: Refusal) -> Answer:
        """problem+json; at the token endpoint the errors of RFC 6749."""
        code = _KERNEL.get(refusal.code, refusal.code)
        if refusal.status == 503:
            code = "UNAVAILABLE"
        facts = dict(refusal.facts)
        if facts.pop("token", False) and code == "MALFORMED_BODY":
            return token_error(400, "invalid_request", refusal.message)
        headers = dict(refusal.headers)
        if code in ("INVALID_TOKEN", "INSUFFICIENT_SCOPE"):
            headers["WWW-Authenticate"] = f'Bearer realm="tims", error="{refusal.code}"'
        facts.pop("scope", None)
        body = {
            "type": f"https://tims.example.com/problems/{code}",
            "title": code.replace("_", " ").capitalize(),
            "status": self._status[code],
            "detail": refusal.message[:500],
            "code": code,
            "traceId": secrets.token_hex(5),
            "errors": [self._error(each, code) for each in refusal.findings],
        }
        return Answer(self._status[code], body | facts, headers, "application/problem+json")

    @staticmethod
    def _error(each: Error | Finding, code: str) -> dict[str, str]:
        own = each.code if isinstance(each, Error) else code
        return {"pointer": each.pointer[:200], "code": own, "message": each.message[:500]}


def token_error(status: int, error: str, text: str) -> Answer:
    headers = {"Cache-Control": "no-store"} | ({"WWW-Authenticate": 'Basic realm="tims"'} if status == 401 else {})
    return Answer(status, {"error": error, "error_description": text[:200]}, headers)


def not_found(what: str, id: object) -> Refusal:
    return Refusal(404, "NOT_FOUND", f"There is no {what} {id}.")


def duplicate(what: str, pointer: str, existing: object) -> Refusal:
    """The refusal of a permanent reference that is taken."""
    error = Error(pointer, "DUPLICATE_EXTERNAL_REFERENCE", f"Exists as {existing}.")
    text = f"The reference of this {what} is taken by {existing}."
    return Refusal(409, "DUPLICATE_EXTERNAL_REFERENCE", text, findings=[error], ExistingID=str(existing))


def invalid_state(what: str, status: str, allowed: Sequence[str]) -> Refusal:
    return Refusal(
        409, "INVALID_STATE", f"{what}: the status is {status}.", CurrentStatus=status, AllowedActions=list(allowed)
    )
