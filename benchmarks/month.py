"""All flows on the sandbox, measured in a process of their own: `python -m benchmarks.month DATABASE DAYS STEPS`.

In: a migrated database, the sandbox's servers up (their ports and the run folder from the environment), how many days
of the shipped January are to happen in how many steps. Out: a line of JSON after each part, sums so far: a process that
is ended early has printed what it measured. Never: the time in which the sandbox's world goes on.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from benchmarks.unlimited import unlimited
from crossdock import flows
from crossdock.ledger import close
from crossdock.runtime import Runtime
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.systems.connections import parse
from crossdock.watch.reconcile import reconcile
from sandbox import demo, processes

FIRST = ("catalog", "prices")  # a channel has products before it has orders
seconds: Counter[str] = Counter()
counts: Counter[str] = Counter()


def timed(name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; its seconds are added up under `name`."""
    begun = time.perf_counter()
    result = work()
    seconds[name] += time.perf_counter() - begun
    return result


def report(name: str) -> None:
    """Prints what is known of `name` so far."""
    print(json.dumps({"part": name, "seconds": round(seconds[name], 3), "count": counts[name]}), flush=True)


def flow(runtime: Runtime, name: str, part: str) -> None:
    """Runs a flow; its records that were worked count for `part`."""
    one = flows.get(name)
    done = asdict(timed(part, lambda: run_batches(runtime, one, extract(runtime, one))))
    counts[part] += done["delivered"]


def main() -> None:
    database, days, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    reported = {name.removeprefix("AIRFLOW_CONN_").lower(): text for name, text in demo.connections().items()}
    with Runtime(database, lambda name: parse(name, reported[name]), processes.inbox()) as runtime:
        unlimited(runtime)
        processes.seed()
        for name in FIRST:
            flow(runtime, name, name)
            report(name)
        for _ in range(steps):
            processes.tick(by=timedelta(days=days) / steps)
            for name in flows.order_to_cash():
                flow(runtime, name, "ledger" if name.startswith("ledger") else "orders to cash")
            report("orders to cash")
            report("ledger")
        closing = timed("close", lambda: close.close(runtime, "2011-01"))
        counts["close"] = len(closing.controls)
        report("close")
        for name in [name for name, one in flows.all_flows().items() if one.offers and name not in FIRST]:
            flow(runtime, name, name)
            report(name)
        outcome = timed("reconcile", lambda: reconcile(runtime, run_id="bench"))
        counts["reconcile"] = sum(each.compared for each in outcome.counts.values())
        report("reconcile")


if __name__ == "__main__":
    main()
