"""
### Invoices: TIMS shipments → TIMS receivables

**Reads** shipments of TIMS changed since the watermark, hourly and whenever shipments have been reported; sales orders
and earlier invoices, for what is left to invoice.
**Writes** one invoice for each shipment. Tax, discount, shipping and gift wrap are divided so that the parts of an
order add up to the order to the cent. Cancelled units are never invoiced.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. A shipment whose
order is not here yet waits and comes along by itself.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="one invoice a shipment; the parts of an order add up to it",
    schedule=every("5 * * * *", or_when_loaded=["shipments"]),
    **asked_by_hand(__doc__, "invoices", "tims"),
)
def invoices():
    five_steps("invoices", source="tims", target="tims")


invoices()
