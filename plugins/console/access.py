"""Who asks, and whether the request is that person's own: by Airflow's login, and nobody else's.

Airflow gives the apps of a plugin no login of its own, and the function that checks one is no public interface. Should
a release move it, or should it fail, then nobody is let in.

In: a request. Out: a `Person` whose roles `config/console.yaml` makes of Airflow's. Never: somebody without a role; a
change that another site's page has sent: it carries no token.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request

if TYPE_CHECKING:
    from crossdock.services.people import Person

TOKEN_HEADER = "X-Crossdock-CSRF"  # noqa: S105 (a name)
READS = ("GET", "HEAD", "OPTIONS")


def _nobody() -> None:
    raise HTTPException(
        status_code=403, detail="This Airflow cannot tell the pages who is asking: nobody may see them."
    )


def _check() -> Callable[..., Any]:
    try:
        from airflow.api_fastapi.core_api.security import get_user

        return get_user
    except Exception:
        return _nobody


known_to_airflow = _check()


def asks(request: Request, user: Annotated[Any, Depends(known_to_airflow)]) -> Person:
    """The person who asks. HTTP 403 for somebody who has no role here, and for a change without the page's token."""
    from crossdock.services.people import Right, person

    address = request.client.host if request.client else ""
    who = person(str(user.get_name()), roles_of(user), address)
    if not who.may(Right.SEE):
        raise HTTPException(
            status_code=403,
            detail=f"{who.name} has no role in Crossdock. config/console.yaml says which roles of Airflow have one.",
        )
    if request.method not in READS and not _own(request, who):
        raise HTTPException(
            status_code=403, detail="This request did not come from the page that you opened. Load the page again."
        )
    request.state.person = who
    return who


def roles_of(user: Any) -> list[str]:
    """The names of a login's roles: several where Airflow keeps them in its database, else the one of the user."""
    several = getattr(user, "roles", None)
    if several is not None:
        return [str(getattr(role, "name", role)) for role in several]
    one = getattr(user, "role", None)
    return [str(getattr(one, "value", one))] if one else []


def token(person: Person) -> str:
    """What a page of this person carries, and every change that it sends."""
    from airflow.configuration import conf

    key = conf.get_mandatory_value("api", "secret_key").encode()
    return hmac.new(key, f"crossdock console\n{person.name}".encode(), hashlib.sha256).hexdigest()


def _own(request: Request, person: Person) -> bool:
    """Whether a change comes from our page. A program that shows its login itself needs no token: no browser adds that
    to another site's request."""
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return True
    return hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), token(person).encode())


Asks = Annotated[Any, Depends(asks)]


def needs(right: str) -> Callable[..., Person]:
    """Asks for a person with a right (`crossdock.services.people.Right`). Raises NotAllowed, before the request is
    read."""

    def check(person: Annotated[Any, Depends(asks)]) -> Any:
        from crossdock.services.people import Right

        person.require(Right(right))
        return person

    return check


Clerk = Annotated[Any, Depends(needs("work dead letters and alerts"))]
Decider = Annotated[Any, Depends(needs("decide on prices"))]
Analyst = Annotated[Any, Depends(needs("publish configuration"))]
Accountant = Annotated[Any, Depends(needs("close a month"))]
Launcher = Annotated[Any, Depends(needs("launch flows"))]
Returner = Annotated[Any, Depends(needs("put flows back into shadow mode"))]
