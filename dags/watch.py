"""
### Watch: is everything really well?

**Reads** watermarks, batches, deliveries, dead letters and circuits of all flows in the Crossdock database. It does not
trust green tasks or callbacks, for a killed task reports nothing.
**Writes** one alert per finding to `ops.alert` and the log, and sends what is unsent through the connection
`crossdock_alerts` (Apprise), where there is one: nothing read for long, a source silent for longer than ever before,
records in flight for long, lost answers, too many dead letters, a file in `done/` that was never read, an order
that waits for the marketplace for a day, a system that is down.

**When it fails:** the Crossdock database does not answer. Every other flow then fails too; start with the database.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import check_freshness, dag_defaults, every


@dag(
    description="looks at the records themselves (stale reads, silent sources, lost outcomes, dead letters); alerts",
    schedule=every("*/10 * * * *"),
    **dag_defaults(__doc__, "watch"),
)
def watch():
    check_freshness()


watch()
