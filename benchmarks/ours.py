"""Crossdock's own steps, measured in a process of their own: `python -m benchmarks.ours WHAT DATABASE SYSTEMS`.

In: a migrated database, the URL of the static server. Out: one line of JSON. Never: the time of an import or of a
first connection; those are counted once, by `tick`.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

started = time.perf_counter()

import great_expectations.expectations.core  # noqa: E402, F401
import pyarrow.dataset  # noqa: E402, F401 - pandas asks for it in its own time
import sqlalchemy as sa  # noqa: E402

from benchmarks.unlimited import unlimited  # noqa: E402
from crossdock import flows  # noqa: E402
from crossdock.mapping import language  # noqa: E402
from crossdock.runtime import Runtime  # noqa: E402
from crossdock.steps import suites  # noqa: E402
from crossdock.steps.extract import extract  # noqa: E402
from crossdock.steps.run_batches import STEPS, run_batches  # noqa: E402
from crossdock.store import batches  # noqa: E402
from crossdock.store.tables import ops_batch, stage_buyer  # noqa: E402
from crossdock.systems.channel_advisor import V1  # noqa: E402
from crossdock.systems.connections import Connection, parse  # noqa: E402
from crossdock.systems.limits import Limits  # noqa: E402

ORDERS = flows.get("orders")
for name in language.all_names():
    language.load(name)
for name in suites.names():
    suites.load(name)
imported = time.perf_counter() - started


def connections(url: str) -> Callable[[str], Connection]:
    """Both systems behind one URL."""
    extra = {"api": "v2", "refresh_token": "none"}
    both = json.dumps({"conn_type": "http", "host": url, "login": "bench", "password": "none", "extra": extra})
    return lambda name: parse(name, both)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def unfinished(runtime: Runtime) -> list[int]:
    """Batches of orders that have work left, oldest first."""
    with runtime.engine.connect() as connection:
        wanted = sa.select(ops_batch.c.id).where(ops_batch.c.flow == ORDERS.name, ops_batch.c.finished_at.is_(None))
        return list(connection.scalars(wanted.order_by(ops_batch.c.id)))


def steps(runtime: Runtime, *names: str) -> dict[str, float]:
    """Seconds of each step over all unfinished batches."""
    ids = unfinished(runtime)
    return {name: timed(lambda step=STEPS[name]: [step(runtime, ORDERS, each) for each in ids])[0] for name in names}


def without_buyers(runtime: Runtime) -> None:
    """Marks changes of known customers as worked. They would be sent one by one within TIMS's budget of requests; the
    other clients send none, and load is compared for the same documents."""
    with runtime.engine.begin() as connection:
        connection.execute(sa.update(stage_buyer).values(state="done"))


def measure(what: str, runtime: Runtime) -> dict[str, Any]:
    """The seconds of `what`."""
    if what == "extract":
        first, _ = timed(lambda: extract(runtime, ORDERS))
        again, ids = timed(lambda: extract(runtime, ORDERS))
        return {"first": first, "again": again, "batches": len(unfinished(runtime)), "anew": len(ids)}
    if what == "v1":
        with V1(runtime._source("channel_advisor"), limits=Limits(requests_per_minute=10**6)) as client:
            seconds, orders = timed(lambda: sum(len(page.records) for page in client.pages("orders")))
        return {"seconds": seconds, "orders": orders}
    if what == "stage":
        return steps(runtime, "transform", "check")
    if what == "load":
        without_buyers(runtime)
        return steps(runtime, "load")
    if what == "nothing":
        seconds, ids = timed(lambda: run_batches(runtime, ORDERS, extract(runtime, ORDERS)))
        return {"seconds": seconds, "work": ids.read}
    if what == "tick":
        seconds, counts = timed(lambda: run_batches(runtime, ORDERS, extract(runtime, ORDERS)))
        return {"seconds": seconds, "imports": imported, "delivered": counts.delivered}
    if what.startswith("stock"):
        return inventory(what.removeprefix("stock-"), runtime)
    if what == "whole":
        seconds, ids = timed(lambda: extract(runtime, ORDERS))
        done = steps(runtime, "transform", "check")
        without_buyers(runtime)
        done |= steps(runtime, "load")
        return {"extract": seconds, **done, "batches": len(ids)}
    raise SystemExit(f"There is nothing called {what} to measure.")


def inventory(what: str, runtime: Runtime) -> dict[str, Any]:
    """A run of the inventory flow: `first`, `changed` or `compare`. What is measured is the program, not how many
    requests a minute the systems allow."""
    unlimited(runtime)
    flow = flows.get("inventory")
    kind = "compare" if what == "compare" else "scheduled"
    seconds, ids = timed(lambda: extract(runtime, flow, kind=kind))
    done = {name: timed(lambda step=step: [step(runtime, flow, each) for each in ids])[0]
            for name, step in STEPS.items()}  # fmt: skip
    with runtime.engine.connect() as connection:
        delivered = batches.counts(connection, ids).delivered
    return {"extract": seconds, **done, "seconds": seconds + sum(done.values()), "delivered": delivered}


def peak() -> float:
    """Largest resident memory of this process so far, in MB. getrusage would count the parent's from before exec."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    what, database, systems = sys.argv[1:]
    with Runtime(database, connections(systems)) as runtime:
        runtime.engine.connect().close()
        result = measure(what, runtime)
    result["megabytes"] = peak()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
