"""
### Prices: TIMS → Channel Advisor

**Reads** items of TIMS changed since the watermark, and the products and listings of Channel Advisor. Items that have
not changed are worked again when their price does: a promotion or a rate begins or ends, the configuration was changed,
a product appeared, a person approved a change.
**Writes** prices, bounds and promotions of products, and prices of the listings on sites that have their own, by
`include/config/prices.yaml` and the lookups beside it. A price that the channel has already is not sent. A change of
more than 30 %, or a price below cost, waits for a person: see `price_approvals`.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single items by TIMS's SKU. *Backfill* reads past
intervals. Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. A product that could
be two items, or a promotion that is not below its price, fails no task: it is a dead letter.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="TIMS's costs → the channel's prices, by `prices.yaml`; promotions by the company's clock",
    schedule=every("5 * * * *"),
    **asked_by_hand(__doc__, "prices", "tims", "channel_advisor"),
)
def prices():
    five_steps("prices", source="tims", target="channel_advisor")


prices()
