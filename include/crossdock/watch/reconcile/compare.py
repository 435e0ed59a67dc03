"""The comparison: what was read of one subject, side against side, in the database.

In: `ops.reading`, our own records as of one moment. Out: a row of `ops.reconcile_difference` for each fact that
differs, with its cause, and counts.
Never: a record in Python's memory; a value of personal data in a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from crossdock.store import database
from crossdock.watch.reconcile.base import CAUSES, CHANGED, CHANNEL_ADVISOR, RECORD, TIMS, UNEXPLAINED, Subject

LONGEST = 300  # characters of a value that are kept


@dataclass
class Counts:
    """Of one subject: keys on each side, keys compared, keys equal, keys that differ by cause, how long it took; how
    many records were passed over, and some of them by name with the reason."""

    channel_advisor: int = 0
    tims: int = 0
    compared: int = 0
    equal: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    passed: int = 0
    such_as: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        return sum(self.causes.values())


# The rows of a subject under their own keys, one a side and key: the newest, or all parts of it together.
_NEWEST = """
newest AS MATERIALIZED (
  SELECT DISTINCT ON (side, key, part) side, key, part, alias, facts, version, cause, why
  FROM ops.reading WHERE subject = :subject ORDER BY side, key, part, version DESC, id DESC
),
"""
# What TIMS's side should come to, in place of what TIMS says, for the keys that the expectation knows.
_EXPECTED = f"""
expected AS MATERIALIZED ({{expected}}),
meant AS MATERIALIZED (
  SELECT n.side, n.key, n.part, n.alias, coalesce(e.facts, n.facts) AS facts, n.version, n.cause, n.why
  FROM newest n LEFT JOIN expected e ON n.side = 'tims' AND e.key = n.key AND NOT n.facts ? '{RECORD}'
),
"""
_NAMES = """
names AS (SELECT part, key FROM newest WHERE side = 'names'),
"""
_LAST_NAMES = """
names AS (
  SELECT DISTINCT ON (part) part, key FROM newest WHERE side = 'names' ORDER BY part, facts ->> 'at' DESC, key DESC
),
"""
_KEYED = """
keyed AS (
  SELECT r.side, coalesce(n.key, r.key) AS key, r.facts, r.version, r.cause, r.why
  FROM {rows} r LEFT JOIN names n ON r.alias AND n.part = r.key
  WHERE r.side IN ('channel_advisor', 'tims')
),
"""
_ONE_EACH = """
whole AS MATERIALIZED (
  SELECT DISTINCT ON (side, key) side, key, facts, version, cause, why FROM keyed ORDER BY side, key, version DESC
),
"""
_SUMMED = """
fact AS (
  SELECT k.side, k.key, f.name, max(k.version) AS version, max(k.cause) AS cause, max(k.why) AS why,
         CASE WHEN f.name = ANY (:summed)
              THEN to_jsonb(sum(CASE WHEN f.name = ANY (:summed) THEN (f.value #>> '{}')::numeric END))
              ELSE (array_agg(f.value ORDER BY k.version DESC))[1] END AS value
  FROM keyed k LEFT JOIN LATERAL jsonb_each(k.facts) AS f(name, value) ON true
  GROUP BY k.side, k.key, f.name
),
whole AS MATERIALIZED (
  SELECT side, key, coalesce(jsonb_object_agg(name, value) FILTER (WHERE name IS NOT NULL), '{}') AS facts,
         max(version) AS version, max(cause) AS cause, max(why) AS why
  FROM fact GROUP BY side, key
),
"""
_WHICH = {
    "all": "true",
    "both": "c.key IS NOT NULL AND t.key IS NOT NULL",
    "channel_advisor": "c.key IS NOT NULL",
}
# JSON's null says nothing and is not compared; a fact that one side does not have at all is a difference. Of a record
# that cannot be read only that is told.
_COMPARE = """
pair AS MATERIALIZED (
  SELECT coalesce(c.key, t.key) AS key,
         CASE WHEN c.key IS NULL THEN 'channel_advisor' WHEN t.key IS NULL THEN 'tims' ELSE '' END AS missing,
         c.facts AS c_facts, t.facts AS t_facts, c.version AS c_version, t.version AS t_version,
         CASE WHEN c.key IS NULL THEN t.cause WHEN t.key IS NULL THEN c.cause END AS cause,
         CASE WHEN c.key IS NULL THEN t.why WHEN t.key IS NULL THEN c.why END AS why
  FROM (SELECT * FROM whole WHERE side = 'channel_advisor') c
  FULL JOIN (SELECT * FROM whole WHERE side = 'tims') t ON t.key = c.key
  WHERE {which}
),
different AS (
  SELECT p.*, f.name AS field, f.c_value, f.t_value
  FROM pair p CROSS JOIN LATERAL (
    SELECT '' AS name, NULL::jsonb AS c_value, NULL::jsonb AS t_value WHERE p.missing <> ''
    UNION ALL
    SELECT k.name, p.c_facts -> k.name, p.t_facts -> k.name
    FROM jsonb_object_keys(p.c_facts || p.t_facts) AS k(name)
    WHERE p.missing = '' AND p.c_facts -> k.name IS DISTINCT FROM p.t_facts -> k.name
      AND coalesce(p.c_facts -> k.name <> 'null', true) AND coalesce(p.t_facts -> k.name <> 'null', true)
      AND (k.name = :record OR NOT (p.c_facts || p.t_facts) ? :record)
  ) f
  WHERE p.missing <> '' OR p.c_facts <> p.t_facts
),
made AS (
  INSERT INTO ops.reconcile_difference (run, subject, key, field, missing, channel_advisor, tims,
    channel_advisor_version, tims_version, cause, why, since)
  SELECT :run, :subject, d.key, d.field, d.missing,
         CASE WHEN :shown THEN left(d.c_value #>> '{{}}', :longest) END,
         CASE WHEN :shown THEN left(d.t_value #>> '{{}}', :longest) END,
         d.c_version, d.t_version, coalesce(d.cause, :unexplained), d.why, coalesce(o.since, now())
  FROM different d LEFT JOIN ops.reconcile_difference o
    ON o.run = :previous AND o.subject = :subject AND o.key = d.key AND o.field = d.field
  RETURNING key
)
SELECT (SELECT count(*) FROM whole WHERE side = 'channel_advisor') AS channel_advisor,
       (SELECT count(*) FROM whole WHERE side = 'tims') AS tims,
       (SELECT count(*) FROM pair) AS compared,
       (SELECT count(DISTINCT key) FROM made) AS different
"""


def compare(
    connection: sa.Connection,
    subject: Subject,
    run: int,
    previous: int | None,
    clocks: Mapping[str, datetime],
    moment: datetime | None = None,
) -> Counts:
    """Compares what was read of `subject` and explains what differs, in place of what an earlier look of the run found.
    `previous`: the run whose differences hand on their age. `clocks`: when this look began, by each system's clock;
    `moment`: the same by the database's, less some seconds (now, if not said)."""
    _set_aside(connection, subject, run)
    names = _LAST_NAMES if subject.last_only else _NAMES
    expected = _EXPECTED.format(expected=subject.expected) if subject.expected else ""
    keyed = _KEYED.format(rows="meant" if subject.expected else "newest")
    rows = _SUMMED if subject.summed else _ONE_EACH
    statement = "WITH " + _NEWEST + expected + names + keyed + rows + _COMPARE.format(which=_WHICH[subject.keys])
    given = {
        "subject": subject.name, "run": run, "previous": previous, "shown": not subject.private, "longest": LONGEST,
        "unexplained": UNEXPLAINED, "record": RECORD,
    }  # fmt: skip
    if subject.summed:
        given["summed"] = sorted(subject.summed)
    # What was read has no statistics: for all that the planner knows it is a handful of rows, to be looped over.
    connection.execute(sa.text("SET LOCAL enable_nestloop = off"))
    found = connection.execute(sa.text(statement), given).one()
    connection.execute(sa.text("SET LOCAL enable_nestloop = on"))
    _explain(connection, subject, run, clocks, moment)
    return Counts(
        found.channel_advisor, found.tims, found.compared, found.compared - found.different,
        causes(connection, subject, run),
    )  # fmt: skip


def _set_aside(connection: sa.Connection, subject: Subject, run: int) -> None:
    """What an earlier look of the run could not explain goes to `before`, and all that it found is forgotten."""
    given = {"run": run, "subject": subject.name, "unexplained": UNEXPLAINED}
    for statement in (
        "DROP TABLE IF EXISTS before",
        """CREATE TEMP TABLE before ON COMMIT DROP AS SELECT key, field, missing, channel_advisor, tims
           FROM ops.reconcile_difference WHERE run = :run AND subject = :subject AND cause = :unexplained""",
        "DELETE FROM ops.reconcile_difference WHERE run = :run AND subject = :subject",
    ):
        connection.execute(sa.text(statement), given)


# What is unexplained and was not so, with the same values, at the look before.
_NEW = """
  t.run = :run AND t.subject = :subject AND t.cause = :unexplained AND NOT EXISTS (
    SELECT FROM before b WHERE b.key = t.key AND b.field = t.field AND b.missing = t.missing
      AND b.channel_advisor IS NOT DISTINCT FROM t.channel_advisor AND b.tims IS NOT DISTINCT FROM t.tims)
"""


def is_moving(connection: sa.Connection, subject: Subject, run: int) -> bool:
    """Whether another look may tell more: something has only just changed, or was not found twice."""
    return bool(
        connection.scalar(
            sa.text(f"""
                SELECT EXISTS (SELECT FROM ops.reconcile_difference t WHERE {_NEW})
                    OR EXISTS (SELECT FROM ops.reconcile_difference
                               WHERE run = :run AND subject = :subject AND cause = :changed)
            """),
            {"run": run, "subject": subject.name, "unexplained": UNEXPLAINED, "changed": CHANGED},
        )
    )


def doubt(connection: sa.Connection, subject: Subject, run: int) -> None:
    """No other look will come: what was not the same twice in a row is still moving."""
    connection.execute(
        sa.text(f"""
            UPDATE ops.reconcile_difference t SET cause = :changed, why = 'not the same at two looks' WHERE {_NEW}
        """),
        {"run": run, "subject": subject.name, "unexplained": UNEXPLAINED, "changed": CHANGED},
    )


def _explain(
    connection: sa.Connection, subject: Subject, run: int, clocks: Mapping[str, datetime], moment: datetime | None
) -> None:
    """Causes for what no rule explained yet: changed while it was read, then what our own records say."""
    given = {"run": run, "subject": subject.name, "unexplained": UNEXPLAINED}
    changed = """
        SELECT d.id, :changed AS cause, 'changed while both systems were read' AS why FROM found d
        WHERE d.channel_advisor_version >= :channel_advisor OR d.tims_version >= :tims
    """
    moments = {CHANNEL_ADVISOR: clocks.get(CHANNEL_ADVISOR), TIMS: clocks.get(TIMS), "changed": CHANGED}
    _apply(connection, changed, given | moments)
    just_now = {"moment": moment or database.now(connection)}
    for explanation in subject.explained:
        _apply(connection, explanation.sql, {**given, **just_now, **explanation.given(connection)})


def _apply(connection: sa.Connection, sql: str, given: Mapping[str, object]) -> None:
    """Sets the cause of the differences that `sql` explains."""
    connection.execute(
        sa.text(f"""
            WITH found AS MATERIALIZED (
              SELECT * FROM ops.reconcile_difference
              WHERE run = :run AND subject = :subject AND cause = :unexplained
            )
            UPDATE ops.reconcile_difference t SET cause = e.cause, why = e.why
            FROM (SELECT DISTINCT ON (id) id, cause, why FROM ({sql}) AS x(id, cause, why) ORDER BY id, cause, why) e
            WHERE t.id = e.id
        """),
        dict(given),
    )


def causes(connection: sa.Connection, subject: Subject, run: int) -> dict[str, int]:
    """Keys by cause; a key of which one fact is unexplained is unexplained, else the worst cause counts."""
    rows = connection.execute(
        sa.text("""
            SELECT rank, count(*) AS n FROM (
              SELECT min(array_position(CAST(:causes AS text[]), cause)) AS rank FROM ops.reconcile_difference
              WHERE run = :run AND subject = :subject GROUP BY key
            ) k GROUP BY rank ORDER BY rank
        """),
        {"causes": list(CAUSES), "run": run, "subject": subject.name},
    )
    return {CAUSES[row.rank - 1]: row.n for row in rows}
