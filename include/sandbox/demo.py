"""`make demo`: a month of real trade through a real scheduler, from the order to the ledger, with prices, catalogue
and stock to the channels, and a look at both sides.

In: a run folder and free ports. Out: a running Airflow, sandbox and Postgres, tables of what happened, the trial
balance and the controls of the month, the reconciliation; exit code 0 only when no run has failed, both sides agree to
the cent, every control holds and every difference is explained.
Never: speaks to any system but the sandbox, and to no other machine: it refuses to start where the environment has a
connection to one; empties a database that is not the demo's own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from crossdock import cli, flows
from crossdock.comparison.subject import UNEXPLAINED
from crossdock.dev import local, standalone
from crossdock.errors import ConfigError, CrossdockError
from crossdock.ledger import close
from crossdock.receiver import sources
from crossdock.runtime import Runtime, database_url
from crossdock.services import configuration, people
from crossdock.settings import PROJECT, base_dir, run_dir
from crossdock.store import batches, database, faults
from crossdock.store.tables import ops_batch, ops_dead_letter, ops_webhook_event
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor import Facade
from crossdock.systems.connections import parse, this_machine_only, variable
from crossdock.systems.inbox import Inbox
from crossdock.systems.tims import adaptation
from crossdock.watch import reconcile
from crossdock.watch.reconcile import results
from sandbox import processes, verify, verify_cash, world
from sandbox.control import SYSTEMS, Control
from sandbox.processes import CONTRACT, FLAVOURS, LEGACY
from sandbox.tims_legacy import server as tims_legacy
from sandbox.tims_legacy.server import LegacyTims
from sandbox.world import CHANNEL_ADVISOR, TIMS

MARK = "crossdock demo"
DAG = "orders"
CLOSE = "nightly_close"
CATALOG = "catalog"
PRICES = "prices"
OFFERS = tuple(flow.name for flow in flows.all_flows().values() if flow.offers)
APPROVALS = "price_approvals"  # its runs wait for a person
SUBSCRIPTIONS, EVENTS = RINGS = ("subscriptions", "events")
DAGS = (DAG, CLOSE, *OFFERS, *RINGS)
# They repeat by timetable what the demo has done: started after the month, so that they do not slow it down.
LATER = tuple(sorted({path.stem for path in (PROJECT / "dags").glob("*.py")} - set(DAGS)))
WEEK = timedelta(days=7)
FORTNIGHT = timedelta(days=14)  # between two closes; parcels and settlements still come so long after the last day
RUN_SECONDS = 900.0  # for one run; a day takes a few, a close more where TIMS takes one document a request
EVENTS_SECONDS = 0.2  # between two looks at what is on its way
POLL_SECONDS = 0.4  # each poll takes time of the api-server from the runs
UNPAUSED_SECONDS = 10.0  # in which an unpaused DAG has started its run, if one is due
DIFFERENCES = 20  # that are printed of a reconciliation
DAY = timedelta(days=1)
SANDBOX_LOGIN = {"login": "crossdock-sandbox", "password": "sandbox-secret"}
LEGACY_LOGIN = {"login": tims_legacy.LOGIN, "password": tims_legacy.PASSWORD}
ADAPTATION = Path(tims_legacy.__file__).with_name(adaptation.FILE)
DIALECTS = ("v2", "v1")  # of Channel Advisor: the contract's facade, and the API of real accounts

out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Spoken:
    """What the two systems speak: the API of Channel Advisor, and the flavour of TIMS."""

    dialect: str = DIALECTS[0]
    flavour: str = CONTRACT


def connections(spoken: Spoken = Spoken()) -> dict[str, str]:
    """The sandbox's connections as Airflow reads them from the environment."""
    logins: dict[str, dict[str, Any]] = {
        CHANNEL_ADVISOR: SANDBOX_LOGIN | {"extra": {"api": spoken.dialect, "refresh_token": "sandbox-refresh"}},
        TIMS: LEGACY_LOGIN if spoken.flavour == LEGACY else SANDBOX_LOGIN,
    }
    return {
        variable(system): json.dumps({"conn_type": system, "host": Control.of(system).url, **logins[system]})
        for system in SYSTEMS
    }


# ---- up --------------------------------------------------------------------------------------------------------------


def up(port: int, days: int | None, spoken: Spoken = Spoken()) -> int:
    """Runs the demo. 0: both sides agree, and Airflow is left running."""
    started = time.monotonic()
    this_machine_only("make demo", SYSTEMS)
    _insist_on_the_sandbox(spoken)
    _refuse_a_database_in_use()
    with _clean_if_broken_off():
        _start_over(port, spoken)
        whole = world.load()
        airflow = Airflow(port)
        airflow.wait_for_dags((*DAGS, *LATER))
        reads = _days(whole, airflow, days, spoken)
        with Runtime(database_url() or local.database_url("crossdock")) as runtime, ThreadPoolExecutor(1) as beside:
            # Orders and cash are done: they are verified while the rest still goes to the channels.
            looked_at = beside.submit(_look_at_cash, whole, reads)
            for flow in OFFERS:
                if flow not in (PRICES, CATALOG):  # they came first
                    airflow.run(flow)
            airflow.wait_until_idle()
            out.print(_offered(runtime.engine))
            out.print("Reading both systems over HTTP, to compare them ...")
            reconciled = reconcile.reconcile(runtime, run_id="demo")
            closing, report, cash = looked_at.result()
            with runtime.engine.connect() as connection:
                unexplained = results.differences(connection, reconciled.id, causes=[UNEXPLAINED], limit=DIFFERENCES)
                _print(report, cash, _seconds(runtime.engine))
        broken = airflow.failed()
        cli.print_closing(closing)
        cli.print_reconciled(reconciled, unexplained)
        for dag in LATER:
            airflow.unpause(dag)
    disagreements = [*report.disagreements, *cash.disagreements]
    for text in disagreements[:30]:
        out.print(f"[red]DISAGREES[/red] {text}")
    took = time.monotonic() - started
    for name in broken:
        out.print(f"[red]FAILED[/red] the run {name}: see it in Airflow.")
    failed = bool(disagreements or closing.failed or reconciled.unexplained or broken)
    if failed:
        out.print(
            f"[red]{len(disagreements)} disagreements, {len(closing.failed)} controls do not hold, "
            f"{reconciled.unexplained} differences unexplained, {len(broken)} runs failed.[/red] "
            "Airflow is left up to look at, until `make down`."
        )
    else:
        out.print(
            "[green]Both sides agree to the cent, every control holds, every difference is explained.[/green] "
            f"{took:.0f} s in all."
        )
    out.print(f"Airflow: http://127.0.0.1:{port}   user: {standalone.USER}   password: {standalone.password()}")
    out.print(f"[bold]Begin here: http://127.0.0.1:{port}/crossdock/[/bold]   is all well, and what waits for a person")
    out.print(
        '`crossdock status` and `crossdock dead-letters list` look closer, and more under "Look around" in README.md; '
        "`make down` stops everything."
    )
    return int(failed)


def _look_at_cash(
    whole: world.World, reads: Sequence[datetime]
) -> tuple[close.Closing, verify.Report, verify_cash.Cash]:
    """Closes the month, and compares both systems with the world; the channel's side by the facade, whatever the flows
    speak."""
    channel = Control.of(CHANNEL_ADVISOR)
    by_facade = parse(CHANNEL_ADVISOR, connections()[variable(CHANNEL_ADVISOR)])
    with Runtime(database_url() or local.database_url("crossdock")) as runtime:
        closing = close.close(runtime, f"{reads[0] - DAY:%Y-%m}", run_id="demo")
        held = channel.documents("order")
        channel.serve(DIALECTS)
        with Facade(by_facade, budget=Budget(CHANNEL_ADVISOR, engine=runtime.engine)) as facade:
            report = verify.verify(whole, reads, facade, runtime.tims, dead_letters(runtime.engine), held)
            cash = verify_cash.verify(_settlements(), facade, runtime.tims, _refused(runtime.engine))
    return closing, report, cash


def _insist_on_the_sandbox(spoken: Spoken) -> None:
    """Replaces connections of the environment: the demo resets what it speaks to."""
    ours = connections(spoken)
    others = ("AIRFLOW_CONN_CROSSDOCK", "CROSSDOCK_INBOX")
    foreign = [name for name in (*ours, *others) if os.environ.get(name, ours.get(name)) != ours.get(name)]
    if foreign:
        out.print(f"The demo speaks to its own sandbox only; {', '.join(foreign)} is left aside.")
    for name in others:
        os.environ.pop(name, None)
    os.environ.update(ours)
    # Both systems ring: the receiver takes it, and who subscribes signs with the same secret.
    os.environ.update({sources.variable(system): standalone.webhook_secret() for system in SYSTEMS})
    os.environ[sources.PUBLIC_URL] = f"http://127.0.0.1:{standalone.receiver_port()}"


@contextmanager
def _clean_if_broken_off() -> Iterator[None]:
    """An error or Ctrl-C on the way leaves no process behind."""
    try:
        yield
    except BaseException as error:
        out.print("Stopping what was started ..." if isinstance(error, KeyboardInterrupt) else "Stopping ...")
        down(quiet=True)
        raise


def _start_over(port: int, spoken: Spoken) -> None:
    """Postgres, an empty Crossdock database, an empty sandbox before its first day, Airflow."""
    standalone.down(lambda text: out.print(text) if "stopped" in text else None)
    standalone.require_free_port(port, "Airflow", "PORT")
    standalone.require_free_port(standalone.receiver_port() or 0, "the receiver of events", standalone.RECEIVER_PORT)
    if processes.flavour_of(TIMS) not in (None, spoken.flavour):
        processes.down()
    processes.refuse_taken_ports()
    out.print(f"Postgres: starting in {run_dir()}")
    local.start()
    _empty_database()
    with ThreadPoolExecutor(1) as beside:
        staged = beside.submit(_set_the_stage, spoken)  # while Airflow starts, which needs none of it
        standalone.up(port, out.print)
        staged.result()


def _set_the_stage(spoken: Spoken) -> None:
    states = processes.up(spoken.flavour)
    Control.of(CHANNEL_ADVISOR).serve(DIALECTS if spoken.dialect == DIALECTS[0] else (spoken.dialect,))
    out.print("Sandbox: " + ", ".join(f"{name} at {Control.of(name).url}" for name in states))
    database.migrate(local.database_url("crossdock"))
    if spoken.flavour == LEGACY:
        _adapt()
    facts = processes.seed()
    out.print(f"Sandbox: seeded with {facts['told']['item']} items; {facts['orders_to_come']} real orders are to come")


def _adapt() -> None:
    """Puts in force how the older TIMS is spoken to and what it can bear, as `crossdock config publish` does."""
    limits = (base_dir() / "systems.yaml").read_text("utf-8")
    others, mark, tims = limits.partition("\ntims:")
    for word, number in (("requests_per_minute", LegacyTims.per_minute), ("at_once", LegacyTims.at_once - 1)):
        tims = re.sub(rf"{word}: \d+", f"{word}: {number}", tims, count=1)
    changed = {adaptation.FILE: ADAPTATION.read_bytes(), "systems.yaml": f"{others}{mark}{tims}".encode()}
    person = people.on_this_machine("demo")
    with Runtime(local.database_url("crossdock")) as runtime, runtime.engine.begin() as connection:
        people.begin(connection, person)
        version = configuration.propose(connection, person, changed, "TIMS is an older installation")
        configuration.publish(connection, person, version.number)
    out.print("Configuration: TIMS is spoken to by include/sandbox/tims_legacy/tims.yaml")


def _refuse_a_database_in_use() -> None:
    """Raises ConfigError, with everything as it was, when the Crossdock database holds what no demo has made."""
    if not (local.data_dir() / "PG_VERSION").exists():
        return
    ran = local.is_running()
    local.start()
    try:
        with _admin() as connection:
            mark = connection.scalar(
                sa.text("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'crossdock'")
            )
        refused = mark != MARK and _used()
    finally:
        if not ran:
            local.stop()
    if refused:
        raise ConfigError(
            f"The database in {run_dir()} holds records that the demo has not made.",
            do="Give the demo a folder of its own: CROSSDOCK_RUN_DIR=.run-demo make demo.",
        )


def _used() -> bool:
    engine = sa.create_engine(local.database_url("crossdock"))
    try:
        with engine.connect() as connection:
            return sa.inspect(connection).has_table("batch", schema="ops") and bool(
                connection.scalar(sa.select(sa.exists().select_from(ops_batch)))
            )
    finally:
        engine.dispose()


def _empty_database() -> None:
    """Makes the Crossdock database anew and marks it as the demo's. Airflow's is made anew too, for its runs name
    batches that do not exist any more, and its DAGs must not run yet."""
    with _admin() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS airflow WITH (FORCE)"))
        connection.execute(sa.text("DROP DATABASE IF EXISTS crossdock WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE crossdock ENCODING 'UTF8'"))
        connection.execute(sa.text(f"COMMENT ON DATABASE crossdock IS '{MARK}'"))


@contextmanager
def _admin() -> Iterator[sa.Connection]:
    engine = sa.create_engine(local.database_url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


# ---- the days --------------------------------------------------------------------------------------------------------


def _days(whole: world.World, airflow: Airflow, days: int | None, spoken: Spoken) -> list[datetime]:
    """Plays each trading day, whose events bring its orders to TIMS. Where a channel does not ring for a new order,
    the scheduler is told to read them. Returns the moments of the reads."""
    midnights = sorted(
        {invoice.at.replace(hour=0, minute=0, second=0, microsecond=0) + DAY for invoice in whole.invoices}
    )
    ends: list[datetime] = midnights[:days] if days else [*_rhythm(midnights), midnights[-1] + FORTNIGHT]
    with Runtime(database_url() or local.database_url("crossdock")) as runtime:
        airflow.start(PRICES)
        airflow.run(DAG)  # of the evening before: there is nothing yet
        airflow.wait_until_idle(PRICES)  # a listing needs the price of its product
        airflow.run(SUBSCRIPTIONS)
        airflow.start(EVENTS)
        airflow.start(CATALOG)  # beside the days: it takes as long as the channel's limit of requests wants it to
        closed = ends[0]
        for end in ends:
            started = time.monotonic()
            last = _last_batch(runtime.engine)
            # Our own lock on reading: whoever reads meanwhile, for an event too, reads the whole day or nothing of it.
            with database.lock(runtime.engine, "extract:channel_advisor.orders"):
                processes.tick(end)
            wait_until_worked(runtime.engine, spoken)
            if spoken.dialect != DIALECTS[0]:
                airflow.run(DAG)
            airflow.wait_until_idle(DAG)
            counts = _counts(runtime.engine, last)
            name = f"{end - DAY:%a %d %b %Y}" if end in midnights else f"until {end - DAY:%d %b %Y}"
            out.print(f"{name:<18} {counts}  ({time.monotonic() - started:.1f} s)")
            if end - closed >= FORTNIGHT or end in (midnights[-1], ends[-1]):  # the scheduler would close every night
                started, closed = time.monotonic(), end
                airflow.run(CLOSE)
                airflow.wait_until_idle(DAG, CLOSE)
                out.print(f"  close: {_closed(runtime.engine, last)}  ({time.monotonic() - started:.1f} s)")
    return ends


def wait_until_worked(engine: sa.Engine, spoken: Spoken) -> None:
    """Waits until no event is on its way from a system, and none waits to be worked. Raises ConfigError after
    RUN_SECONDS."""
    ringing = [system for system in SYSTEMS if (system, spoken.flavour) != (TIMS, LEGACY)]
    until, quiet = time.monotonic() + RUN_SECONDS, 0
    while quiet < 2:  # what is worked rings too
        sent = sum(Control.of(system).call("GET", "webhooks")["waiting"] for system in ringing)
        with engine.connect() as connection:
            open_ones = connection.scalar(sa.select(sa.func.count()).where(ops_webhook_event.c.worked_at.is_(None)))
        quiet = 0 if sent or open_ones else quiet + 1
        if time.monotonic() > until:
            raise ConfigError(
                f"{sent} events are not delivered, {open_ones} are not worked.",
                do=f"See the run of the DAG {EVENTS} in Airflow, and .run/logs/receiver.log.",
            )
        time.sleep(EVENTS_SECONDS)


def _rhythm(midnights: Sequence[datetime]) -> list[datetime]:
    """Day by day for a week, then three trading days at a time: each takes Airflow the same few seconds."""
    first = [end for end in midnights if end - midnights[0] <= WEEK]
    rest = midnights[len(first) :]
    return [*first, *rest[(len(rest) - 1) % 3 :: 3]]


def _offered(engine: sa.Engine) -> str:
    """The results of the flows of offers, a line each."""
    lines = []
    with engine.connect() as connection:
        for flow in OFFERS:
            wanted = sa.select(ops_batch.c.id).where(ops_batch.c.flow == flow)
            lines.append(f"{flow:<18} {batches.counts(connection, list(connection.scalars(wanted)))}")
    return "\n".join(lines)


def _last_batch(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.max(ops_batch.c.id))) or 0


def _counts(engine: sa.Engine, after: int) -> batches.Counts:
    with engine.connect() as connection:
        wanted = sa.select(ops_batch.c.id).where(ops_batch.c.id > after, ops_batch.c.flow == DAG)
        return batches.counts(connection, list(connection.scalars(wanted)))


def _closed(engine: sa.Engine, after: int) -> str:
    """The results of the flows of a close."""
    wanted = (
        sa.select(ops_batch.c.flow, sa.func.sum(ops_batch.c.delivered))
        .where(ops_batch.c.id > after, ops_batch.c.flow.not_in((DAG, *OFFERS, "reference")))
        .group_by(ops_batch.c.flow)
    )
    with engine.connect() as connection:
        delivered = dict(connection.execute(wanted).all())
    entries = sum(count for flow, count in delivered.items() if flow.startswith("ledger_"))
    found = [f"{flow} {delivered[flow]}" for flow in flows.all_flows() if delivered.get(flow) and "ledger" not in flow]
    return ", ".join([*found, f"documents posted to the ledger {entries}"])


class Airflow:
    """Airflow's REST API, as the user of this installation. Holds a token."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.trust_env = False
        answer = self.session.post(
            f"{self.url}/auth/token", json={"username": standalone.USER, "password": standalone.password()}, timeout=60
        )
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer of `/api/v2/...`. Raises ConfigError on a refusal."""
        answer = self.session.request(method, f"{self.url}/api/v2/{path}", json=body, timeout=60)
        if answer.status_code >= 400:
            raise ConfigError(f"Airflow refuses {method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def wait_for_dags(self, names: Sequence[str], seconds: float = 90) -> None:
        """Until the dag-processor has read the DAG files."""
        until = time.monotonic() + seconds
        while missing := set(names) - {dag["dag_id"] for dag in self.call("GET", "dags")["dags"]}:
            errors = [error["stack_trace"] for error in self.call("GET", "importErrors")["import_errors"]]
            if errors:
                raise ConfigError(f"A DAG file cannot be read:\n{errors[0]}")
            if time.monotonic() > until:
                raise ConfigError(
                    f"Airflow has not found {', '.join(sorted(missing))}.", do="See .run/logs/dag-processor.log."
                )
            time.sleep(0.3)

    def unpause(self, dag: str) -> None:
        """Lets the scheduler run it."""
        self.call("PATCH", f"dags/{dag}", {"is_paused": False})

    def is_idle(self, *dags: str) -> bool:
        """Whether no run of these DAGs, or of any, is at work. One that waits, for a person or for events, is not."""
        runs = self.call("GET", "dags/~/dagRuns?state=running&state=queued")["dag_runs"]
        return not any(run["dag_id"] in dags if dags else run["dag_id"] not in (APPROVALS, EVENTS) for run in runs)

    def wait_until_idle(self, *dags: str) -> None:
        """Waits until no run (of these DAGs) is at work. Raises ConfigError after RUN_SECONDS."""
        until = time.monotonic() + RUN_SECONDS
        while not self.is_idle(*dags):
            if time.monotonic() > until:
                raise ConfigError("Runs do not end.", do="See .run/logs/scheduler.log.")
            time.sleep(POLL_SECONDS)

    def failed(self) -> list[str]:
        """The runs that have failed, of any DAG."""
        runs = self.call("GET", "dags/~/dagRuns?state=failed")["dag_runs"]
        return [f"{run['dag_run_id']} of {run['dag_id']}" for run in runs]

    def start(self, dag: str) -> dict[str, Any]:
        """Triggers a run. A paused DAG is unpaused, and the run that its timetable then starts is taken."""
        path = f"dags/{dag}/dagRuns"
        if self.call("GET", f"dags/{dag}")["is_paused"]:
            before, until = self.call("GET", path)["total_entries"], time.monotonic() + UNPAUSED_SECONDS
            self.unpause(dag)
            while time.monotonic() < until:
                runs = self.call("GET", f"{path}?order_by=-run_after&limit=1")
                if runs["total_entries"] > before:
                    return runs["dag_runs"][0]
                time.sleep(POLL_SECONDS)
        return self.call("POST", path, {"logical_date": None})

    def run(self, dag: str) -> dict[str, Any]:
        """Triggers a run and waits for its end. Raises ConfigError naming the failed tasks."""
        run = self.start(dag)
        path = f"dags/{dag}/dagRuns/{run['dag_run_id']}"
        until = time.monotonic() + RUN_SECONDS
        while (run := self.call("GET", path))["state"] not in ("success", "failed"):
            if time.monotonic() > until:
                raise ConfigError(
                    f"The run {run['dag_run_id']} of {dag} has not ended.", do="See .run/logs/scheduler.log."
                )
            time.sleep(POLL_SECONDS)
        if run["state"] == "failed":
            tasks = self.call("GET", f"{path}/taskInstances")["task_instances"]
            failed = ", ".join(sorted({task["task_id"] for task in tasks if task["state"] == "failed"}))
            raise ConfigError(
                f"The run {run['dag_run_id']} of {dag} has failed in {failed}.", do="See its log in .run/airflow/logs."
            )
        return run


# ---- the end ---------------------------------------------------------------------------------------------------------


def dead_letters(engine: sa.Engine) -> dict[int, frozenset[str]]:
    """The rules of each open dead letter, by order."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(ops_dead_letter.c.key, ops_dead_letter.c.reasons).where(
                ops_dead_letter.c.flow == DAG, ops_dead_letter.c.state.in_(("open", "edited"))
            )
        )
        return {int(key): frozenset(reason["rule"] for reason in reasons) for key, reasons in rows}


def _refused(engine: sa.Engine) -> dict[str, set[str]]:
    """The keys of open dead letters by flow."""
    refused: dict[str, set[str]] = defaultdict(set)
    wanted = sa.select(ops_dead_letter.c.flow, ops_dead_letter.c.key).where(
        ops_dead_letter.c.state.in_(("open", "edited"))
    )
    with engine.connect() as connection:
        for flow, key in connection.execute(wanted):
            refused[flow].add(key)
    return refused


def _settlements() -> Iterator[bytes]:
    """All settlement files, also those that were taken."""
    inbox = Inbox(processes.inbox())
    for page in inbox.pages("settlements", before=inbox.server_time()):
        yield from map(bytes, page.records)


def _seconds(engine: sa.Engine) -> dict[str, float]:
    """Wall seconds by step, over all batches of all flows."""
    total: Counter[str] = Counter()
    with engine.connect() as connection:
        for seconds in connection.scalars(sa.select(ops_batch.c.seconds).where(ops_batch.c.flow != "reference")):
            for step, value in seconds.items():
                total[step] += value
    return {step: total[step] for step in batches.STEPS}


def _print(report: verify.Report, cash: verify_cash.Cash, seconds: dict[str, float]) -> None:
    facts = Table(title="What became of the orders", title_justify="left")
    facts.add_column("")
    facts.add_column("count", justify="right")
    facts.add_row("orders in Channel Advisor", str(report.orders))
    facts.add_row("sales orders in TIMS", str(report.sales_orders))
    facts.add_row("orders with the exported mark", str(report.exported))
    facts.add_row("customers created", str(report.customers_created))
    facts.add_row("customers found in TIMS", str(report.customers_matched))
    facts.add_row("orders that wait for their payment", str(report.verdicts["waits"]))
    facts.add_row("orders cancelled before they were loaded", str(report.verdicts["left_out"]))
    facts.add_row("dead letters", str(report.dead), end_section=False)
    for rule, count in report.dead_letters.most_common():
        facts.add_row(f"  {rule}", str(count))
    out.print(facts)
    amounts = Table(title="Amounts", title_justify="left")
    for column in ("", "Channel Advisor", "with lines to the cent", "TIMS", "difference"):
        amounts.add_column(column, justify="right")
    for currency, found in report.amounts.items():
        difference = found.tims - found.rounded
        amounts.add_row(
            currency,
            f"{found.channel_advisor:,.4f}",
            f"{found.rounded:,.2f}",
            f"{found.tims:,.2f}",
            f"{difference:,.2f}",
        )
    out.print(amounts)
    after = Table(title="From the order to the cash", title_justify="left")
    for column in ("", "should be", "is"):
        after.add_column(column, justify="right" if column else "left")
    for pair in cash.pairs:
        after.add_row(*pair)
    out.print(after)
    out.print("Seconds per step: " + ", ".join(f"{step} {value:.1f}" for step, value in seconds.items()))


# ---- down ------------------------------------------------------------------------------------------------------------


def down(*, quiet: bool = False) -> None:
    """Stops Airflow, the sandbox and Postgres, if they run."""
    say = (lambda _text: None) if quiet else out.print
    standalone.down(say)
    for system, state in processes.down().items():
        say(f"Sandbox {system}: {state}.")
    say("Postgres stopped." if local.stop() else "Postgres was not running.")


def status() -> int:
    """Says how each part is; 0 when all are healthy."""
    up = {True: standalone.HEALTHY, False: "not running"}
    parts = {
        **{f"Airflow {name}".removesuffix(" airflow"): what for name, what in standalone.status().items()},
        **{f"Sandbox {system}": up[processes.running(system) is not None] for system in SYSTEMS},
        "Postgres": up[local.is_running()],
    }
    for name, what in parts.items():
        out.print(f"{name}: {what}", markup=False, highlight=False, soft_wrap=True)
    return 0 if all(what == standalone.HEALTHY for what in parts.values()) else 1


def main(arguments: list[str] | None = None) -> int:
    """`python -m sandbox.demo up|down|status [--port 8080] [--days N] [--dialect v1] [--flavour legacy]`."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo")
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or standalone.DEFAULT_PORT))
    parser.add_argument("--days", type=int, help="trading days to run; absent: the whole month and what follows")
    parser.add_argument("--dialect", choices=DIALECTS, default=DIALECTS[0], help="the API of Channel Advisor")
    parser.add_argument("--flavour", choices=FLAVOURS, default=CONTRACT, help="as what TIMS speaks")
    options = parser.parse_args(arguments)
    os.umask(local.OWNERS)
    try:
        with faults.typed_errors():
            if options.action == "up":
                return up(options.port, options.days, Spoken(options.dialect, options.flavour))
            if options.action == "status":
                return status()
            down()
    except CrossdockError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
