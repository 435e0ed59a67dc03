"""How our own records explain a difference: dead letters, records that wait or are on their way, what was never read.

In: names of flows, tables and keys, all of this project's own code. Out: `Explanation`s. Never: a difference explained
by what a flow believes it has delivered, for that is what is being proved.
"""

from __future__ import annotations

from crossdock.watch.reconcile.base import BY_RULE, CHANGED, DEAD, IN_FLIGHT, WAITING, Explanation


def dead_letter(flow: str, key: str = "d.key", via: str = "") -> Explanation:
    """The record, or one that it depends on, is a dead letter of `flow`. `via`: joins that lead from d to it."""
    return Explanation(f"""
        SELECT d.id, '{DEAD}', format('dead letter %s of %s', l.id, l.flow)
        FROM found d {via} JOIN ops.dead_letter l ON l.flow = '{flow}' AND l.key = {key}
        WHERE l.state IN ('open', 'edited')
    """)


def dismissed(flow: str, key: str = "d.key") -> Explanation:
    """A person has decided that the record need not be delivered, and it has not been worked since."""
    return Explanation(f"""
        SELECT d.id, '{BY_RULE}', format('dead letter %s of %s was dismissed', l.id, l.flow)
        FROM found d JOIN LATERAL (
          SELECT l.id, l.flow, l.state FROM ops.dead_letter l WHERE l.flow = '{flow}' AND l.key = {key}
          ORDER BY l.id DESC LIMIT 1
        ) l ON l.state = 'dismissed'
    """)


def on_its_way(table: str, key: str = "d.key", via: str = "") -> Explanation:
    """Its staged row waits, is on its way, or was left out by a rule. The last only explains that one side has none."""
    return Explanation(f"""
        SELECT d.id,
               CASE s.state WHEN 'waiting' THEN '{WAITING}' WHEN 'left_out' THEN '{BY_RULE}' ELSE '{IN_FLIGHT}' END,
               coalesce(s.reason, format('batch %s is at work', s.batch_id))
        FROM found d {via} JOIN {table} s ON s.key = {key}
        WHERE s.state IN ('waiting', 'staged', 'ready') OR s.state = 'left_out' AND d.missing <> ''
    """)


def not_read(flow: str, resource: str, side: str, only: str = "true") -> Explanation:
    """The record of `side` is newer than what `flow` has read of `resource`. `only`: differences it may explain."""
    return Explanation(f"""
        SELECT d.id, '{IN_FLIGHT}', 'changed after the last read of {flow}'
        FROM found d JOIN ops.watermark w ON w.flow = '{flow}' AND w.resource = '{resource}'
        WHERE d.{side}_version >= w.position AND {only}
    """)


# Batches that a run has in its hands, or had until just now, when this look at both systems had begun.
AT_WORK = "(b.finished_at IS NULL OR greatest(b.finished_at, b.touched_at) >= :moment)"


def at_work(flow: str, table: str, matches: str = "r.key = d.key", via: str = "") -> Explanation:
    """A run of `flow` has the record in its hands: read and not worked, sent and not settled; or it had it until just
    now, so that one side may be from before and the other from after. `table`: raw rows r of the flow; `via`: joins
    that lead from d to it."""
    return Explanation(f"""
        SELECT d.id, CASE WHEN b.finished_at IS NULL THEN '{IN_FLIGHT}' ELSE '{CHANGED}' END,
               format('batch %s of {flow} %s', b.id,
                      CASE WHEN b.finished_at IS NULL THEN 'is at work' ELSE 'was at work just now' END)
        FROM found d {via} JOIN (ops.batch b JOIN {table} r ON r.batch_id = b.id) ON {matches}
        WHERE b.flow = '{flow}' AND {AT_WORK}
    """)
