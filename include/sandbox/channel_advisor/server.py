"""Channel Advisor: tokens, refusals in its shapes, validation of bodies.

In: requests that the kernel has read. Out: answers of the contract. Never: an operation served in part.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.channel_advisor import (
    account,
    listings,
    lists,
    orders,
    prices,
    products,
    repository,
    returns,
    shipments,
    stock,
    webhooks,
    world,
)
from sandbox.channel_advisor.rules import Conflict
from sandbox.channel_advisor.values import Refused, field_errors, moment, whole
from sandbox.kernel import contract, limits
from sandbox.kernel.app import DENIED
from sandbox.kernel.clock import text
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.oauth import Access, basic
from sandbox.kernel.store import Id, Transaction, decode
from sandbox.kernel.system import System

BATCHES = ("createProducts", "createShipments", "updateInventory", "updatePrices")
SCOPES = {
    "/v2/products": "inventory",
    "/v2/inventory": "inventory",
    "/v2/prices": "inventory",
    "/v2/promotions": "inventory",
    "/v2/listings": "inventory",
    "/v2/distribution-centers": "inventory",
    "/v2/orders": "orders",
    "/v2/shipping": "orders",
    "/v2/returns": "orders",
}


class ChannelAdvisor(System):
    """The server's state and what it says about itself."""

    name = "channel_advisor"
    per_minute = 2_000
    at_once = 5
    any_case_query = True
    paging = ("updatedSince", "updatedBefore", "limit", "cursor")
    terms = repository.TERMS
    events = webhooks.OrdersAndReturns()

    def __init__(self, folder: Path, *, per_minute: int | None = None, at_once: int | None = None) -> None:
        super().__init__(folder, per_minute=per_minute, at_once=at_once)
        for module in (lists, orders, products, stock, prices, listings, shipments, returns, webhooks):
            self.handlers |= module.handlers(self)

    def routes(self) -> contract.Routes:
        """The operations that are served; the contract names their scopes in words only."""
        served = [each for each in self.contract.operations.values() if each.id in self.handlers]
        return contract.Routes([replace(each, scopes=_scopes(each.path)) for each in served])

    # ---- requests ----
    def decode(self, body: bytes) -> Any:
        return whole(decode(body))

    def perform(self, request: Request) -> Answer:
        operation = request.operation
        for name in self.paging[:2]:
            _check_time(name, request.query.get(name))
        if operation.bodies and operation.id not in BATCHES:
            _check_body(request)
        try:
            return super().perform(request)
        except Refused as refused:
            count = len(refused.errors)
            message = f"{count} field{'s were' if count > 1 else ' was'} refused."
            raise Refusal(422, "Invalid", message, Errors=refused.errors) from None
        except Conflict as conflict:
            raise Refusal(409, conflict.code, conflict.message, **conflict.details) from None

    def token(self, authorization: str, form: dict[str, str]) -> Answer:
        client = basic(authorization)
        if client is None or account.APPLICATIONS.get(client[0]) != client[1]:
            return _oauth("invalid_client")
        if set(form) - {"grant_type", "refresh_token"} or not form.get("grant_type"):
            return _oauth("invalid_request")
        if form["grant_type"] != "refresh_token":
            return _oauth("unsupported_grant_type")
        if not form.get("refresh_token"):
            return _oauth("invalid_request")
        grant = account.GRANTS.get(form["refresh_token"])
        if grant is None or grant.application != client[0]:
            return _oauth("invalid_grant")
        access = self.tokens.give(grant.application, grant.scopes, grant.profiles)
        return Answer(200, {"access_token": access.token, "token_type": "bearer", "expires_in": 3600})

    # ---- refusals ----
    def refuse(self, refusal: Refusal) -> Answer:
        headers = dict(refusal.headers)
        match refusal.code:
            case _ if refusal.facts.get("token"):
                return Answer(400, "Bad Request", headers, media="text/plain")
            case "invalid_token" | "insufficient_scope":
                return _error(401, "", DENIED, headers)
            case "rate_limited" if "Retry-After" not in headers:
                return Answer(429, "TOO MANY REQUESTS", headers, media="text/plain")
            case "rate_limited":
                return _error(429, "TooManyRequests", "Rate limit exceeded.", headers)
            case "not_found" | "method_not_allowed" | "internal":
                return Answer(refusal.status, {"Message": _sentence(refusal)}, headers)
            case "unsupported_media_type":
                return Answer(400, {"Message": refusal.message}, headers)
            case "malformed_body":
                return _error(400, "InvalidJson", refusal.message, headers)
            case "invalid_parameter":
                return _error(400, "InvalidParameter", refusal.message, headers)
            case "invalid_cursor":
                return _error(400, "InvalidCursor", "The cursor does not belong to this query.", headers)
            case "too_large":
                return _error(413, "BodyTooLarge", refusal.message, headers)
        return _error(refusal.status, refusal.code, refusal.message, headers, refusal.facts)

    # ---- rights and limits ----
    def missing_scopes(self, access: Access, operation: contract.Operation) -> set[str]:
        """`orders.readonly` is enough to read what `orders` also writes."""
        reads = operation.method == "GET"
        return {each for each in operation.scopes if not {each, f"{each}.readonly" if reads else each} & access.scopes}

    def limit_keys(self, access: Access) -> list[str]:
        return [f"profile/{each}" for each in access.profiles]

    def limit_headers(self, standing: limits.Standing) -> dict[str, str]:
        return {"X-RateLimit-Limit": str(standing.limit), "X-RateLimit-Remaining": str(standing.remaining)}

    # ---- the world ----
    def apply(self, tx: Transaction, event: dict[str, Any], at: int) -> None:
        world.apply(self.contract, tx, event, at)

    def touch(self, tx: Transaction, kind: str, id: Id, at: int) -> None:
        row = tx.get(kind, id)
        if row is not None:
            at = max(at, row.modified + 1)
            tx.put(kind, id, row.doc | {"UpdatedDate": text(at)}, modified=at, extra=row.extra)


def _scopes(path: str) -> tuple[str, ...]:
    return tuple(scope for prefix, scope in SCOPES.items() if path == prefix or path.startswith(prefix + "/"))


def _check_time(name: str, value: str | None) -> None:
    try:
        if value is not None:
            moment(value)
    except ValueError as error:
        raise Refusal(400, "InvalidParameter", f"{name}: {error}") from None


def _check_body(request: Request) -> None:
    """Refusal 400 when a body does not match the contract."""
    errors = field_errors(contract.findings(request.operation.body, request.body))
    if errors:
        unknown = next((error for error in errors if error["Code"] == "UnknownField"), None)
        first = unknown or errors[0]
        code = "UnknownField" if unknown else "InvalidRequest"
        raise Refusal(400, code, f"{first['Field']}: {first['Message']}".removeprefix(": "), Errors=errors)


def _sentence(refusal: Refusal) -> str:
    if refusal.code == "internal":
        return "An error has occurred."
    return refusal.message


def _error(
    status: int, code: str, message: str, headers: dict[str, str], details: dict[str, Any] | None = None
) -> Answer:
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = details
    return Answer(status, {"error": error}, headers)


def _oauth(error: str) -> Answer:
    return Answer(400, {"error": error})
