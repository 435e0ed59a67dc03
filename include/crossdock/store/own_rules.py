"""Separation of duties: who made the rule that a change comes from does not approve the change.

It counts where `console.yaml` asks for a second person on the rule's file. The rule is the text that the version of the
configuration had by which the change was asked for; made it has who proposed the last version that changed that file,
and who published it without a second person. The second person who agreed to it did not make it.
In: changes that wait, a name. Out: those that are the person's own, in words. Never: a change decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import sqlalchemy as sa

from crossdock import settings
from crossdock.store.tables import ops_approval, ops_audit
from crossdock.store.tables import ops_config_file as file
from crossdock.store.tables import ops_config_version as version
from crossdock.store.versions import MERGED_BY

# What a change of each flow comes from.
FILES = {
    "prices": ("prices.yaml", "lookups/price_rules.csv", "lookups/promotions.csv", "lookups/exchange_rates.csv"),
}
SHIPPED = 0


def own_rules(connection: sa.Connection, flow: str, ids: Sequence[int], who: str) -> dict[int, str]:
    """Of these changes those whose rule `who` has made: by number, which rule it is."""
    consent = settings.console().consent
    paths = [path for path in FILES.get(flow, ()) if any(fnmatchcase(path, pattern) for pattern in consent)]
    if not paths or not ids:
        return {}
    given = sa.bindparam("ids", list(ids), type_=sa.ARRAY(sa.BigInteger))
    table = ops_approval.c
    # A change of before this was kept: the version that was in force when it was asked for.
    then = (
        sa.select(version.c.id)
        .where(version.c.in_force_at <= table.asked_at)
        .order_by(version.c.in_force_at.desc(), version.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        sa.select(table.id, sa.func.coalesce(table.config_version, then, SHIPPED).label("number")).where(
            table.flow == flow, table.id == sa.any_(given)
        )
    ).all()
    made = {number: _rules_of(connection, number, paths, who) for number in {row.number for row in rows}}
    return {row.id: made[row.number] for row in rows if made[row.number]}


def _rules_of(connection: sa.Connection, number: int, paths: Sequence[str], who: str) -> str:
    """The rules of a version that `who` has made, in words; "" where there are none."""
    if number == SHIPPED:
        return ""
    replaced = connection.scalars(
        sa.select(file.c.path).where(
            file.c.version == number, file.c.path.in_(paths), file.c.text.is_distinct_from(file.c.base)
        )
    ).all()
    found = []
    for path in sorted(replaced):
        last = _last_change(connection, number, path)
        if last is not None and _same(who, _makers(connection, last)):
            found.append(f"{path} (version {last.id})")
    return ", ".join(found)


def _last_change(connection: sa.Connection, number: int, path: str) -> sa.Row | None:
    """The version by which a person has changed a file last, as of another one that was in force."""
    until = sa.select(version.c.in_force_at).where(version.c.id == number).scalar_subquery()
    changed = sa.exists().where(
        file.c.version == version.c.id, file.c.path == path, file.c.text.is_distinct_from(file.c.replaces)
    )
    return connection.execute(
        sa.select(version.c.id, version.c.author, version.c.consent_by)
        .where(version.c.in_force_at <= until, version.c.author != MERGED_BY, changed)
        .order_by(version.c.in_force_at.desc(), version.c.id.desc())
        .limit(1)
    ).one_or_none()


def _makers(connection: sa.Connection, made: sa.Row) -> list[str]:
    """Who proposed a version, and who published it without a second person."""
    if made.consent_by is not None:
        return [made.author]
    log = ops_audit.c
    published = connection.scalars(
        sa.select(log.who).where(log.action == "configuration publish", log.subject == f"version {made.id}")
    )
    return [made.author, *published]


def _same(who: str, names: Sequence[str]) -> bool:
    return who.strip().casefold() in {name.strip().casefold() for name in names}
