"""The five steps as Airflow tasks, and what every DAG of the project has in common.

In: a flow's name, a run, batch ids. Out: calls of `crossdock.steps`, whose counts are the tasks' return values.
Never: a rule of a flow; an import of pandas when a DAG file is read.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (  # type: ignore[attr-defined] # not in its stub
    Asset,
    AssetAlias,
    AssetAny,
    AssetOrTimeSchedule,
    AsyncCallback,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException

from crossdock_airflow.connections import runtime
from crossdock_airflow.notifier import Alert, send
from crossdock_airflow.retry import TypedErrors

if TYPE_CHECKING:
    from crossdock.steps.extract import Window

log = logging.getLogger(__name__)
HOUR = timedelta(hours=1)
EVENTS_FOR = timedelta(minutes=30)  # at most; the next run, a quarter of an hour later, takes over
OWNER = "crossdock"
BY_EVENTS = AssetAlias("loaded by events")  # of whichever flows have loaded something in the run
BEHIND = 10  # priority of processes ("nice") of all tasks but the one that works the channel's events
START = datetime.fromisoformat("2010-01-01T00:00:00+00:00")  # a backfill reaches no further back

# What a person may ask of a run by hand. Without any of it the run does what the next scheduled one would do.
RUN_PARAMS = {
    "from": Param(None, type=["null", "string"], format="date-time", title="From", description="Read changes since"),
    "to": Param(None, type=["null", "string"], format="date-time", title="To", description="Read changes before"),
    "by": Param(
        "window", type="string", enum=["window", "day"], title="Read the window",
        values_display={"window": "whole, in one read", "day": "day by day, each kept when it is read"},
        description="Of From and To: a month by days is one run of 31 reads, not 8,640 runs of five minutes",
    ),
    "keys": Param(
        None, type=["null", "array"], items={"type": "string"}, title="Keys", description="Read these records only"
    ),
    "reprocess": Param(
        False, type=["null", "boolean"], title="Work unchanged records again", description="After a mended mapping"
    ),
    "replay": Param(
        None, type=["null", "array"], items={"type": "string"}, title="Replay",
        description="Keys of dead letters to be worked again, with what was edited; nothing is read",
    ),
    "accept_rejects": Param(
        None, type=["null", "array"], items={"type": "integer"}, title="Go on with stopped batches",
        description="Batches that check has stopped, for too many of their records break a rule: those become dead "
        "letters, the others go on; nothing is read",
    ),
}  # fmt: skip
# The form marks as required whatever may not be null; `by` always has a value.

SUBJECTS = Param(
    None,
    type=["null", "array"],
    items={"type": "string"},
    title="Subjects",
    description="Compare these only, e.g. orders",
)
PERIOD = Param(
    None, type=["null", "string"], pattern="^[0-9]{4}-[0-9]{2}$", title="Period", description="Month, YYYY-MM"
)


def ends_within(hours: int, dag: str) -> DeadlineAlert:
    """An alert where a run of `dag` has not ended so long after it was queued."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=hours * HOUR,
        callback=AsyncCallback("crossdock_airflow.notifier.late", kwargs={"dag": dag, "after": f"{hours} h"}),
        name=f"{dag} ends within {hours} h",
    )


def give_way(_context: Any) -> None:
    """Lets the task that works the channel's events have the processor first: nobody waits for any other one."""
    os.setpriority(os.PRIO_PROCESS, 0, max(BEHIND, os.getpriority(os.PRIO_PROCESS, 0)))


def dag_defaults(doc: str | None, *tags: str) -> dict[str, Any]:
    """What every DAG of the project is given: its docstring as its page, one run at a time, no catching up."""
    return {
        "start_date": START,
        "catchup": False,
        "max_active_runs": 1,
        "doc_md": doc,
        "tags": ["crossdock", *tags],
        "default_args": {
            "owner": OWNER,
            "retries": 4,
            "retry_delay": timedelta(seconds=20),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=15),
            "retry_policy": TypedErrors(),
            "execution_timeout": timedelta(minutes=30),
            "on_failure_callback": [Alert()],
            "pre_execute": give_way,
        },
    }


A_MONTH_ONCE_MORE = """
**A month once more:** *Trigger* with *From* and *To*, *Read the window* day by day: one run, each day kept when it is
read, and the watermark stays where it is. *Trigger > Backfill* makes a run per interval of the timetable instead: of a
flow that runs every five minutes 8,640 a month."""


def asked_by_hand(doc: str | None, *tags: str) -> dict[str, Any]:
    """What every DAG of a flow is given: also the form for a run by hand, and how a wide window is read."""
    return {**dag_defaults(f"{(doc or '').rstrip()}\n{A_MONTH_ONCE_MORE}\n", *tags), "params": RUN_PARAMS}


def loaded(flow: str) -> Asset:
    """What a flow's load tells other DAGs: something new is in the target."""
    return Asset(f"{flow} loaded", uri=f"crossdock://{flow}/loaded")


def every(cron: str, *, or_when_loaded: Sequence[str] = ()) -> CronDataIntervalTimetable | AssetOrTimeSchedule:
    """A timetable with intervals, so that a backfill has one to take; and, besides, whenever one of these flows has
    loaded something."""
    timetable = CronDataIntervalTimetable(cron, timezone="UTC")
    if not or_when_loaded:
        return timetable
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAny(*(loaded(flow) for flow in or_when_loaded)))


def five_steps(flow: str, *, source: str, target: str, kind: str = "scheduled") -> None:
    """The chain of every flow: extract, and for each batch transform, check, load, confirm. `kind`: what a run reads
    that nobody asks for anything else: scheduled, sweep or compare."""
    steps = Steps(flow, source, target)

    @task_group
    def batch(batch_id: int) -> None:
        steps.transform(batch_id) >> steps.check(batch_id) >> steps.load(batch_id) >> steps.confirm(batch_id)

    batch.expand(batch_id=steps.extract(kind=kind))


@dataclass(frozen=True)
class Steps:
    """The five steps of a flow as tasks. `source` and `target` name the pools that bound how many tasks work there."""

    flow: str
    source: str
    target: str

    def extract(self, *, kind: str = "scheduled") -> Any:
        """Reads the window; the ids of the batches that have work. None: the rest of the run is skipped."""
        return _extract.override(pool=self.source)(self.flow, kind)

    def transform(self, batch_id: Any) -> Any:
        """Raw records of the batch -> staged documents."""
        return _step.override(task_id="transform")("transform", self.flow, batch_id)

    def check(self, batch_id: Any) -> Any:
        """Staged documents -> ready, or dead letters with their reasons."""
        return _step.override(task_id="check")("check", self.flow, batch_id)

    def load(self, batch_id: Any) -> Any:
        """Ready documents -> the target, each once; the asset `<flow> loaded` tells other DAGs which batch."""
        return _step.override(task_id="load", pool=self.target, outlets=[loaded(self.flow)], execution_timeout=HOUR)(
            "load", self.flow, batch_id
        )

    def confirm(self, batch_id: Any) -> Any:
        """What was delivered -> back to the source."""
        return _step.override(task_id="confirm", pool=self.source, execution_timeout=HOUR)(
            "confirm", self.flow, batch_id
        )


@task(task_id="extract", execution_timeout=2 * HOUR)
def _extract(flow: str, usual: str) -> list[int]:
    from crossdock import flows
    from crossdock.steps import extract as step
    from crossdock.store import batches

    context = get_current_context()
    params = context["params"]
    kind, window = window_of(context["dag_run"], params, usual)
    run_id = run_name(context["dag_run"].dag_id, context["run_id"])
    windows = window.days() if kind == "backfill" and params["by"] == "day" else [window]
    found: dict[int, None] = {}  # in the order in which they are to be worked
    with runtime() as opened:
        if params["accept_rejects"]:
            with opened.engine.begin() as connection:
                return batches.stopped(connection, flow, params["accept_rejects"])
        for each in windows:
            ids = step.extract(
                opened, flows.get(flow), each, kind=kind, run_id=run_id, keys=params["replay"] or params["keys"] or (),
                reprocess=bool(params["reprocess"]), over=over,
            )  # fmt: skip
            found.update(dict.fromkeys(ids))
    return list(found)


@task
def _step(name: str, flow: str, batch_id: int) -> dict[str, int]:
    from crossdock import flows
    from crossdock.errors import Elsewhere
    from crossdock.steps.run_batches import STEPS

    context = get_current_context()
    run_id = run_name(context["dag_run"].dag_id, context["run_id"])
    accepted = name == "check" and batch_id in (context["params"].get("accept_rejects") or ())
    more = {"accept_rejects": True} if accepted else {}
    with runtime() as opened:
        try:
            counts = STEPS[name](opened, flows.get(flow), batch_id, run_id=run_id, over=over, **more)
        except Elsewhere as error:  # a run that took this one for dead; it does what is left to do
            raise AirflowSkipException(str(error)) from error
    for asset in context["outlets"]:
        context["outlet_events"][asset].extra = {"batch_ids": [batch_id]}
    return asdict(counts)


def over(run_id: str) -> bool | None:
    """Whether a run of Airflow has ended, by Airflow's own word; None: it is none, or Airflow does not know it."""
    dag_id, slash, name = run_id.partition("/")
    if not slash:
        return None
    try:
        return get_current_context()["ti"].get_dagrun_state(dag_id, name) not in ("queued", "running")
    except Exception as error:  # a run of another Airflow, or one that was deleted: its silence decides
        log.info("Airflow knows no state of the run %s: %s", run_id, type(error).__name__)
        return None


def run_name(dag_id: str, run_id: str) -> str:
    """What `ops.batch` knows the run by."""
    return f"{dag_id}/{run_id}"


def window_of(run: Any, params: Any, usual: str = "scheduled") -> tuple[str, Window]:
    """The kind of run and its window: a backfill's is its data interval; a person may name one, or keys; a scheduled
    run's is decided by the library, from the watermark to the source's own clock."""
    from crossdock.steps.extract import Window

    if params["replay"]:
        return "replay", Window()
    if params["keys"]:
        return "key", Window()
    if params["from"] or params["to"]:
        return "backfill", Window(*(datetime.fromisoformat(params[p]) if params[p] else None for p in ("from", "to")))
    if run.run_type == "backfill":
        return "backfill", Window(run.data_interval_start, run.data_interval_end)
    return usual, Window()


@task(execution_timeout=2 * HOUR)
def run_batches(flow: str) -> dict[str, int]:
    """A whole flow in one task: reads what is new and takes every batch through its steps."""
    from crossdock import flows
    from crossdock.steps import extract as step
    from crossdock.steps.run_batches import run_batches as all_steps
    from crossdock.store import runs

    context = get_current_context()
    with runtime() as opened:
        run_id = run_name(context["dag_run"].dag_id, context["run_id"])
        with runs.at_work(opened.engine, run_id):
            ids = step.extract(opened, flows.get(flow), run_id=run_id, over=over)
            return asdict(all_steps(opened, flows.get(flow), ids, run_id=run_id, over=over))


@task(execution_timeout=2 * HOUR, retry_delay=timedelta(seconds=5), outlets=[BY_EVENTS])
def work_events(system: str) -> dict[str, Any]:
    """Works a system's events as they come, until the next run takes over; then tells other DAGs what was loaded. Where
    the database is lost it is opened again."""
    from crossdock import flows
    from crossdock.errors import Transient
    from crossdock.steps import events

    context = get_current_context()
    if context["dag_run"].run_type == "backfill":
        raise AirflowSkipException("Events have no past. Backfill the flow whose records are wanted.")
    run_id = run_name(context["dag_run"].dag_id, context["run_id"])
    until, done = time.monotonic() + EVENTS_FOR.total_seconds(), events.Worked()
    its = {name: flow for name, flow in flows.all_flows().items() if flow.source.system == system}
    events.prepare(its)
    gc.collect()
    gc.freeze()  # what was imported stays: to look at it again and again would stop a pass for a quarter of a second
    while True:
        try:
            with runtime() as opened:
                left = max(until - time.monotonic(), events.PAUSE)
                events.work(opened, its, done, seconds=left, run_id=run_id, over=over)
            break
        except Transient as lost:
            if time.monotonic() >= until:
                raise
            log.warning("%s", lost)
            time.sleep(events.PAUSE)
    for flow, counts in done.counts.items():
        if counts.delivered:
            context["outlet_events"][BY_EVENTS].add(loaded(flow), extra={"delivered": counts.delivered})
    return {"events": done.events, **{flow: str(counts) for flow, counts in done.counts.items()}}


@task(execution_timeout=timedelta(minutes=10))
def keep_subscriptions() -> list[str]:
    """Keeps the subscriptions to both systems' events as they should be, and sends the alerts; a sentence for each
    source."""
    from crossdock.services import subscriptions

    with runtime() as opened:
        try:
            return [subscriptions.sentence(standing) for standing in subscriptions.keep(opened)]
        finally:
            send(opened.engine)


@task(execution_timeout=HOUR)
def controls() -> dict[str, Any]:
    """The close of the month that yesterday belongs to, by TIMS's own clock, or of the one that a person asks for.
    Fails where a control does not hold, naming the documents."""
    from crossdock.errors import ControlFailed
    from crossdock.ledger import close

    context = get_current_context()
    run = context["dag_run"]
    with runtime() as opened:
        period = context["params"]["period"] or close.yesterdays_period(opened)
        if context["params"]["period"]:
            close.require_month(opened, period)
        closing = close.close(opened, period, run_id=run_name(run.dag_id, context["run_id"]))
        if closing.failed:
            send(opened.engine)
            raise ControlFailed(
                f"{len(closing.failed)} of {len(closing.controls)} controls over {period} do not hold: "
                + "; ".join(
                    f"{one.name} {one.subject}: expected {one.expected}, is {one.actual}" for one in closing.failed[:5]
                ),
                do=f"`crossdock close --period {period}` names the documents and what to do; then clear this task.",
            )
    return {"period": period, "controls": len(closing.controls), "open items": len(closing.open_items)}


@task(retries=1, execution_timeout=2 * HOUR, pool="channel_advisor")
def compare() -> dict[str, int]:
    """Compares both systems on the subjects that a person asks for, or all; how many keys differ. What nothing explains
    is alerted and fails nothing."""
    from crossdock.watch.reconcile import reconcile

    context = get_current_context()
    with runtime() as opened:
        run = run_name(context["dag_run"].dag_id, context["run_id"])
        outcome = reconcile(opened, context["params"]["subjects"] or (), run_id=run, say=log.info)
        if outcome.unexplained:
            send(opened.engine)
    return {"run": outcome.id, "unexplained": outcome.unexplained} | {
        name: each.differences for name, each in outcome.counts.items()
    }


@task(retries=1, execution_timeout=timedelta(minutes=5))
def check_freshness() -> list[str]:
    """Looks for what is not as it should be and sends the alerts; the titles of the findings."""
    from crossdock import flows
    from crossdock.watch import freshness

    with runtime() as opened:
        findings = freshness.watch(opened.engine, flows.all_flows(), opened.inbox)
        send(opened.engine)
    return [finding.title for finding in findings]


@task(retries=2, execution_timeout=HOUR, pool="tims")
def compare_shadow() -> list[str]:
    """Compares what flows in shadow mode would have made with what people have entered; a sentence for each day."""
    from crossdock.services import shadow

    context = get_current_context()
    run_id = run_name(context["dag_run"].dag_id, context["run_id"])
    with runtime() as opened:
        shadow.refresh(opened, run_id)
        with opened.engine.begin() as connection:
            days = shadow.compare(connection, run_id=run_id)
            shadow.age(connection)
        if any(day.differs for day in days):
            send(opened.engine)
    return [day.sentence for day in days]
