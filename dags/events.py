"""
### Events: what the systems ring for, within seconds

**Reads** the events that the receiver has kept (`ops.webhook_event`): which record of which flow to read now. Nothing
else of an event is taken for true. A task for each system waits for its events, is woken by each that comes, reads the
records and takes them through all five steps of their flow. A quarter of an hour later the next run prepares itself and
takes over, with fresh code and connections: two runs at a time, one of which works. The one that ends tells other DAGs
what was loaded, as their own loads do. **Writes** what the flows write, into the same tables and batches (`kind`
event).

Where events stand in a storm, the flow's list is read in place of each record. The flows' own schedules go on: they
find what nobody has rung for.

**When a task has failed:** read the last line of its log; it says what to do. Nothing is lost: an event is noted as
worked only when its record was, the next run begins with what is left, and polling finds the rest. *Trigger* starts a
run that takes over at once.

**Why long tasks:** a run for each event would cost two to three seconds in the scheduler before the first line of it
is at work (`docs/decisions/052-events.md`).
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import dag_defaults, every, work_events


@dag(
    description="reads the records that events name, within seconds, and works them",
    schedule=every("*/15 * * * *"),
    **dag_defaults(__doc__, "events", "channel_advisor", "tims") | {"max_active_runs": 2},
)
def events():
    work_events.override(task_id="work_channel_advisor", pre_execute=None)("channel_advisor")
    work_events.override(task_id="work_tims")("tims")


events()
