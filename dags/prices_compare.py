"""
### Prices: the nightly compare

**Reads** all prices of Channel Advisor, and of TIMS what is new.
**Writes** again the prices that differ there from those sent: changed by hand, by a repricer, or lost. Normally there
are none and the run ends at once. A price that a person has not approved yet is not among them.

**By hand:** *Trigger*, or `crossdock sync prices --compare`.

**When a task has failed:** as in `prices`. A compare that sends prices every night means that somebody else sets them:
find out who, and whether TIMS is meant to.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="all prices of the channel against what was sent; what differs is sent again",
    schedule=every("10 3 * * *"),
    **asked_by_hand(__doc__, "prices", "tims", "channel_advisor"),
)
def prices_compare():
    five_steps("prices", source="tims", target="channel_advisor", kind="compare")


prices_compare()
