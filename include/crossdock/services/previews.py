"""What a person was shown before publishing: nothing takes effect that its publisher has not seen the effects of.

In: a draft, the person. Out: a `Preview`, kept with a number; a refusal of a publication without one, with somebody
else's, with one of another draft, or with one from before something else came into force; of a large change also
without its second confirmation. Never: a row of what would change in the database.

    shown = preview(connection, person, {"prices.yaml": text})
    publish(connection, person, number_of_the_proposal, Seen(shown.number, confirm="2,000"))

Going back to what has been in force (`configuration.rollback`) needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from crossdock import settings
from crossdock.errors import ConfigError
from crossdock.services import configuration, effects, mapping_trial, mappings
from crossdock.services.configuration import Problem, Version
from crossdock.services.effects import Part
from crossdock.services.mapping_trial import Trial
from crossdock.services.people import Person, Right
from crossdock.store.tables import ops_config_preview as table


@dataclass(frozen=True)
class Preview:
    """What would change. `number` 0: nothing that could be published. `changes`: how many prices, quantities, entries
    and documents of the `looked`; `large`: publishing it takes a second confirmation, by `changes` written once more;
    `goes_on`: not all items are compared yet, and `preview` with this number compares further ones."""

    number: int
    changes: int
    looked: int
    large: bool
    why_large: str
    goes_on: bool
    parts: tuple[Part, ...]
    problems: tuple[Problem, ...]
    words: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Tried:
    """What a draft of a mapping does to the last records, kept as a `Preview` is: `changes` of the records come to
    another document, or to something else."""

    trial: Trial
    number: int
    changes: int
    large: bool
    why_large: str


@dataclass(frozen=True)
class Seen:
    """What a person says to have seen. `confirm`: the number of changes, written by hand."""

    number: int | None
    confirm: str = ""


def preview(
    connection: sa.Connection,
    person: Person,
    changed: Mapping[str, str | None],
    *,
    parent: int | None = None,
    goes_on: int | None = None,
) -> Preview:
    """What would change with these texts of files. `parent`: the version that the draft was made from; somebody else's
    change of the same files since is told. `goes_on`: the number of a preview that has not compared everything."""
    person.require(Right.PUBLISH)
    configuration.refuse_overlap(connection, list(changed), parent)
    kept = _own(connection, person, goes_on) if goes_on is not None else None
    if kept is not None and not kept.rest:
        raise ConfigError("Everything is compared.", do="Publish it, or look once more.")
    found = effects.of(connection, person, changed, dict(kept.rest) if kept is not None else None)
    before, after = found.draft.before, found.draft.after
    if kept is not None:
        _require_same(kept, before, after)
    if found.problems or not found.draft.files:
        return Preview(0, 0, 0, False, "", False, (), found.problems, found.words, found.seconds)
    changes = sum(one.weighs for one in found.parts) + (kept.changes if kept is not None else 0)
    looked = sum(one.looked for one in found.parts if one.weighs) + (kept.looked if kept is not None else 0)
    rest = {one.title: one.rest for one in found.parts if one.rest}
    why = _why_large(changes, looked, rest)
    values = {"changes": changes, "looked": looked, "large": bool(why), "rest": rest}
    if not changes and not rest and found.parts:  # what only frees dead letters asks for no number, and is on record
        most = max(found.parts, key=lambda part: part.looked)
        values |= {"changes": most.total, "looked": most.looked}
    if kept is not None:
        connection.execute(sa.update(table).where(table.c.id == kept.id).values(**values, at=sa.func.now()))
        number = kept.id
    else:
        number = _keep(connection, person, before, after, values)
    return Preview(
        number, changes, looked, bool(why), why, bool(rest), found.parts, (), found.words, found.seconds
    )  # fmt: skip


def tried(connection: sa.Connection, person: Person, name: str, text: str) -> Tried:
    """What a draft of a mapping would change of the last records. Raises ConfigError for a draft with mistakes."""
    person.require(Right.PUBLISH)
    trial = mapping_trial.tried(connection, person, name, text)
    with configuration.draft(connection, {mappings.file_of(name): text}) as draft:
        pass
    if not draft.files:
        return Tried(trial, 0, 0, False, "")
    changes = trial.changed + trial.died + trial.recovered + trial.moved
    why = _why_large(changes, trial.records, {})
    values = {"changes": changes, "looked": trial.records, "large": bool(why), "rest": {}}
    return Tried(trial, _keep(connection, person, draft.before, draft.after, values), changes, bool(why), why)


def _keep(connection: sa.Connection, person: Person, before: str, after: str, values: Mapping[str, Any]) -> int:
    """A new preview; its number."""
    row = sa.insert(table).values(who=person.name, before=before, after=after, **values)
    return connection.execute(row.returning(table.c.id)).scalar_one()


def of_proposal(connection: sa.Connection, person: Person, number: int, goes_on: int | None = None) -> Preview:
    """What would change if a proposal came into force. Raises ConfigError where it is none."""
    return preview(connection, person, configuration.proposed(connection, number), goes_on=goes_on)


def publish(connection: sa.Connection, person: Person, number: int, seen: Seen) -> Version:
    """Brings a proposal into force whose effects the person has seen; see `configuration.publish`."""
    person.require(Right.PUBLISH)
    return configuration.publish(connection, person, number, _shown(connection, person, number, seen))


def consent(connection: sa.Connection, person: Person, number: int, seen: Seen) -> Version:
    """A second person, who has seen the effects too, agrees; see `configuration.consent`."""
    configuration.may_consent(connection, person, number)
    return configuration.consent(connection, person, number, _shown(connection, person, number, seen))


LOOK_FIRST = "Look at what would change, then publish. Nothing was published."


def _shown(connection: sa.Connection, person: Person, number: int, seen: Seen) -> configuration.Shown:
    """What the person was shown of a proposal, for the audit log. Raises ConfigError where that is not enough."""
    row = _own(connection, person, seen.number)
    _require_same(row, *configuration.hashes(connection, number))
    if row.large and seen.confirm.strip().replace(",", "").replace(" ", "") != str(row.changes):
        raise ConfigError(
            f"This is a large change: {row.changes:,} of {row.looked:,} would change, and it was not confirmed.",
            do=f"Write {row.changes:,} to confirm it. Nothing was published.",
        )
    return {"preview": row.id, "would change": row.changes, "of": row.looked}


def _own(connection: sa.Connection, person: Person, number: int | None) -> sa.Row:
    """A preview that this person was shown. Raises ConfigError where there is none."""
    if number is None:
        raise ConfigError("Nobody publishes unseen: it was not shown what this would change.", do=LOOK_FIRST)
    row = connection.execute(sa.select(table).where(table.c.id == number)).one_or_none()
    if row is None or row.who != person.name:
        raise ConfigError(f"There is no preview {number} that {person.name} was shown.", do=LOOK_FIRST)
    return row


def _require_same(row: sa.Row, before: str, after: str) -> None:
    """Raises ConfigError for a preview of another draft, or from before something else came into force."""
    if row.before != before:
        raise ConfigError(
            "Something else has come into force since the preview: it may change other things now.", do=LOOK_FIRST
        )
    if row.after != after:
        raise ConfigError("The preview was of another draft: this one was changed since.", do=LOOK_FIRST)


def _why_large(changes: int, looked: int, rest: Mapping[str, str]) -> str:
    """Why a change is large, in words; "" where it is not."""
    bound = settings.console().large
    if rest:
        return "Not all items are compared yet: how many would change is not known."
    if changes >= bound.count:
        return f"{changes:,} would change; from {bound.count:,} on it must be confirmed."
    if changes and changes * 100 >= bound.percent * looked:
        return f"{changes:,} of {looked:,} would change; from {bound.percent} % on it must be confirmed."
    return ""
