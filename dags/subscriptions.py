"""
### Subscriptions: do both systems send us their events?

**Reads** the subscriptions at both systems, and what should be there (`include/config/receiver.yaml`, the secrets).
**Writes** the difference there: makes what lacks, makes anew what is suspended or was made with another secret, ends
what is of no use, all of our own address only; which secret each was made with, by a fingerprint, to
`ops.subscription`; an alert where a subscription was suspended, where none can be made, and where no events come while
polling finds new records. Deletes events that were worked more than `keep_days` ago.

Without an address of the receiver, or for an API without webhooks, it does nothing and its log has the reason.

**When a task has failed:** a system or the receiver does not answer; the next run does the same again. Polling brings
everything meanwhile (`docs/events.md`).
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import dag_defaults, every, keep_subscriptions


@dag(
    description="keeps the subscriptions to both systems' events; alerts where they stop or are silent",
    schedule=every("25 * * * *"),
    **dag_defaults(__doc__, "events", "channel_advisor", "tims"),
)
def subscriptions():
    keep_subscriptions()


subscriptions()
