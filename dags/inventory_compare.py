"""
### Inventory, full compare: both sides read whole

**Reads** every stock level of Channel Advisor and every quantity of TIMS, nightly.
**Writes** how many SKUs have the right quantity at the channel (`ops.accuracy`, also in the run's note; below the share
in `config/stock_offers.yaml` it alerts), then writes the others again.

**By hand:** *Trigger* it after somebody has changed quantities at the channel, or `crossdock sync inventory --compare`.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task: it reads both sides
again.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="both sides read whole: how many SKUs are equal; the others are written again",
    schedule=every("40 3 * * *"),
    **asked_by_hand(__doc__, "inventory", "tims", "channel_advisor"),
)
def inventory_compare():
    five_steps("inventory", source="tims", target="channel_advisor", kind="compare")


inventory_compare()
