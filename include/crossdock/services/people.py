"""Who asks, and what that person may do.

In: names and roles as a login gives them. Out: a `Person`. Never: a right that no role of the person has.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from crossdock import settings
from crossdock.errors import NotAllowed


class Right(StrEnum):
    """One thing that not everybody may do."""

    SEE = "see"  # every page, without personal data
    SEE_PERSONAL = "see personal data"  # of a record that is opened; each opening is on record
    WORK = "work dead letters and alerts"
    APPROVE = "decide on prices"
    PUBLISH = "publish configuration"
    CLOSE = "close a month"
    LAUNCH = "launch flows"
    BACK = "put flows back into shadow mode"


class Role(StrEnum):
    """What a person is to Crossdock. A person may have several."""

    VIEWER = "viewer"
    CLERK = "clerk"
    ANALYST = "analyst"
    ACCOUNTANT = "accountant"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.SEE}),
    Role.CLERK: frozenset({Right.SEE, Right.SEE_PERSONAL, Right.WORK, Right.APPROVE, Right.BACK}),
    Role.ANALYST: frozenset({Right.SEE, Right.PUBLISH, Right.LAUNCH, Right.BACK}),
    Role.ACCOUNTANT: frozenset({Right.SEE, Right.CLOSE, Right.BACK}),
}


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in. `address`: where the request comes from; empty on the machine itself."""

    name: str
    roles: frozenset[Role]
    address: str = ""

    def may(self, right: Right) -> bool:
        return any(right in RIGHTS[role] for role in self.roles)

    def require(self, right: Right) -> None:
        """Raises NotAllowed for a right that the person does not have."""
        if not self.may(right):
            having = " or ".join(role for role, rights in RIGHTS.items() if right in rights)
            raise NotAllowed(
                f"{self.name} may not {right}.",
                do=f"Ask for the role {having}; config/console.yaml says whose login has which.",
            )


def person(name: str, login_roles: Collection[str], address: str = "") -> Person:
    """The person with this login. `login_roles`: the roles that Airflow knows; `console.yaml` says what they are here.
    Somebody whose roles are none of those may see nothing."""
    console = settings.console()
    by_login = {name.lower(): roles for name, roles in console.roles.items()}
    given = [role for login_role in login_roles for role in by_login.get(login_role.lower(), ())]
    given += console.people.get(name, ())
    return Person(name, frozenset(Role(role) for role in given), address)


def on_this_machine(name: str) -> Person:
    """Somebody with a shell on the machine and the database's password: may do everything."""
    return Person(name, frozenset(Role))


def begin(connection: sa.Connection, person: Person) -> None:
    """Notes for the audit log, until the transaction ends, where its changes come from."""
    connection.execute(sa.select(sa.func.set_config("crossdock.address", person.address, True)))
