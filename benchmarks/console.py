"""The console at size, measured over HTTP: `python -m benchmarks.console DATABASE RECORDS LETTERS SKUS LINES TIMES`.

In: a migrated database. Out: it is filled with so many raw records, open dead letters, SKUs and lines of journal
entries; then one line of JSON by the call: milliseconds until it was answered (half of them, 95 in 100), CPU time of
this process (half of them), the HTTP status (the worst; 0: a broken connection), what it may take. Of a download the
milliseconds are those until it begins.
Never: a route that is left out: they are found from the app, and each that changes something is named here.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from crossdock.services import configuration
from crossdock.services.people import on_this_machine
from crossdock.services.rule_files import Draft, ValueChange, text_of
from crossdock.settings import PROJECT, config_dir
from crossdock.store import database, sql
from crossdock.watch.reconcile.subjects import SUBJECTS

PREFIX = "/crossdock"
SLOW = 300  # milliseconds that an answer may take at p95
TRIAL = 3_000  # the same of a draft that is tried on records, 20 or 500, beside the mapping in force
FEW, LONG = 5, 2  # so often is asked what takes longer than so many seconds to its end
STARTED_WITHIN = 120  # seconds
LINES_OF_A_SALE = 7
DAYS, SETTLEMENTS = 200, 14  # that the books have
VERSIONS = 5
ORDER, SKU, LETTER, UNKNOWN = "90000001", "SKU-000001", 1, "NO-SUCH-CODE"
REPLAY = "900000000"  # of all open letters
MONTH = f"{datetime.now(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"
PAYOUT = ("amazon_uk", "S1")
YESTERDAY = f"{datetime.now(UTC).date() - timedelta(days=1)}"

# What stands for the parameters of routes, by name; several: each is measured.
VALUES: dict[str, tuple[str, ...]] = {
    "number": ("1",),
    "run": ("30",),
    "after": ("100",),
    "flow": ("orders",),
    "rule": ("unknown_sku",),
    "state": ("dead",),
    "key": (ORDER,),
    "hash": ("h",),
    "q": (ORDER, f"A-{ORDER}", "SO-90000001", SKU, "SKU-00", "nothing has this number"),
    "name": ("sales_order",),
    "target": ("ExternalOrderID",),
    "path": ("prices.yaml",),
    "period": (MONTH,),
    "lookup": ("payment_status",),
}
LISTS: dict[str, tuple[dict[str, str], ...]] = {
    "records": tuple(
        {"flow": "orders", "state": each} for each in ("dead", "dead_new", "dead_closed", "waiting", "delivered")
    ),
    "life": ({"kind": "order", "id": ORDER}, {"kind": "sku", "id": SKU}),
    "rule file": tuple(
        {"path": path}
        for path in ("prices.yaml", "posting.yaml", "lookups/carriers.csv", "lookups/settlement_kinds.csv")
    ),
    "lines": tuple(
        {"period": MONTH, **more}
        for more in (
            {},
            {"account": "4000"},
            {"channel": "Amazon UK", "currency": "GBP"},
            {"sku": SKU},
            {"sku": "none"},
        )
    ),
    "more of lines": tuple(
        {"period": MONTH, name: value}
        for name, value in (("group", "fees"), ("document", f"SO-{ORDER}"), ("text", "nothing has it"))
    ),
    "open items": (
        {"period": MONTH},
        {"period": MONTH, "kind": "invoices", "currency": "GBP", "age": "0-30"},
        {"period": MONTH, "text": ORDER, "sort": "days"},
        {"period": MONTH, "sort": "-amount", "after": "24.00~3000"},
    ),
    "events": (
        {},
        {"flow": "holds", "state": "waiting"},
        {"system": "tims", "state": "worked"},
        {"q": ORDER},
        {"q": "nothing has it"},
    ),
    "audit": ({}, {"who": "clerk 1"}, {"action": "price approve", "who": "clerk 1"}, {"subject": "17"}),
    "approvals": ({}, {"state": "approved"}, {"q": SKU}, {"q": "nothing"}),
}
# Of routes whose parameters mean something else, or belong together.
OWN: dict[str, tuple[dict[str, str], ...]] = {
    "/static/{name:path}": ({"name": "console.css"},),
    "/api/records/{kind}": LISTS["life"],
    "/record/{kind}": LISTS["life"],
    "/api/overview/records": LISTS["records"],
    "/overview/records": LISTS["records"],
    "/api/overview/events": LISTS["events"],
    "/overview/events": LISTS["events"],
    "/overview/system/{name}": ({"name": "tims"},),
    "/letters/closed": ({}, {"state": "mended"}, {"state": "resolved"}),
    **dict.fromkeys(("/letters/replays/{number}", "/api/replays/{number}"), ({"number": REPLAY},)),
    "/letters/replays/{number}/rows": ({"number": REPLAY, "end": "running", "after": "100"},),
    "/rules/file": LISTS["rule file"],
    "/api/rules/file": LISTS["rule file"],
    "/mappings/{folder}/{name}": ({"folder": "channel_advisor_v1", "name": "order"},),
    "/api/mappings/{name}/history": ({"name": "sales_order", "path": "CurrencyCode"},),
    "/rules/change": ({"path": "prices.yaml", "number": "1"},),
    "/api/letters": ({}, {"flow": "orders", "rule": "unknown_sku"}, {"assigned_to": "nobody"}, {"state": "resolved"}),
    "/money/{period}/lines": (*LISTS["lines"], *LISTS["more of lines"]),
    "/money/{period}/lines/sums": (*LISTS["lines"], *LISTS["more of lines"]),
    "/api/money/{period}/lines": LISTS["lines"],
    "/money/{period}/open-items": LISTS["open items"],
    "/money/{period}/open-items.csv": LISTS["open items"][:3],
    "/money/{period}/profit.csv": tuple({"period": MONTH, "by": by} for by in ("channel", "sku")),
    "/api/money/{period}/open-items": LISTS["open items"],
    "/api/money/{period}/open-items/sums": LISTS["open items"][:2],
    "/money/{period}/profit": tuple(
        {"period": MONTH, "by": by, "amounts": amounts} for by in ("channel", "sku") for amounts in ("own", "base")
    ),
    "/api/money/{period}/profit": (
        {"period": MONTH},
        {"period": MONTH, "by_sku": "true"},
        {"period": MONTH, "by_sku": "true", "channel": "Amazon UK", "in_base": "true"},
    ),
    "/money/{period}/export/{kind}": tuple({"period": MONTH, "kind": kind} for kind in ("csv", "beancount")),
    "/money/payout": ({"source": PAYOUT[0], "id": PAYOUT[1]}, {"source": PAYOUT[0], "id": PAYOUT[1], "after": "50"}),
    "/money/payout.csv": ({"source": PAYOUT[0], "id": PAYOUT[1]},),
    "/api/money/payouts/{source}/{settlement_id}": ({"source": PAYOUT[0], "settlement_id": PAYOUT[1]},),
    "/audit": LISTS["audit"],
    "/api/audit": LISTS["audit"],
    "/approvals": LISTS["approvals"],
    "/api/approvals": LISTS["approvals"],
    "/reconciliation/{number}": ({"number": "30"}, {"number": "30", "cause": "dead letter"}),
    "/reconcile/{number}": ({"number": "30"},),
    "/go-live/{flow}": ({"flow": "orders"},),
    "/go-live/{flow}/held": ({"flow": "orders"}, {"flow": "orders", "after": ORDER}, {"flow": "orders", "key": ORDER}),
    "/go-live/{flow}/{day}": tuple({"flow": "orders", "day": YESTERDAY, "same": same} for same in ("false", "true")),
    "/go-live/{flow}/{day}.csv": ({"flow": "orders", "day": YESTERDAY},),
    "/api/go-live/{flow}/effect": ({"flow": "orders", "since": MONTH + "-01"},),
    "/api/reconciliation/{number}/differences": ({"number": "30"},),
}


def _draft(**words: Any) -> dict[str, Any]:
    """The mapping's own text, to which `words` are added."""
    return {"text": (config_dir() / "mappings" / "sales_order.yaml").read_text("utf-8"), **words}


def _margin() -> dict[str, Any]:
    return {"path": "prices.yaml", "values": [{"place": ["defaults", "margin"], "value": "48"}]}


def _trial(**words: Any) -> dict[str, Any]:
    """A draft that changes a field of every document."""
    return {"text": _draft()["text"].replace("constant: ChannelAdvisor", "constant: Elsewhere"), **words}


# What is sent to routes that only answer. One that changes something is in CHANGES.
BODIES: dict[str, tuple[Any, ...]] = {
    "/api/letters/{number}/verdict": (
        partial(dict, changes={}),
        partial(dict, changes={"OrderItems[0].SKU": SKU}),
        partial(dict, changes={"OrderItems[0].SKU": UNKNOWN}),
    ),
    "/api/mappings/{name}/draft": (_draft,),
    "/api/mappings/{name}/change": (
        partial(_draft, change={"do": "draw", "path": "CurrencyCode", "source": "SiteName", "replace": True}),
    ),
    "/api/mappings/{name}/trace": (partial(_draft, key=ORDER),),
    "/api/mappings/{name}/trial": (_draft, _trial),
    "/api/mappings/{name}/compare": (partial(_trial, keys=[str(int(ORDER) + number) for number in range(20)]),),
    "/api/rules/open": (_margin,),
    "/api/rules/check": (_margin,),
    "/api/rules/effects": (_margin,),
}
CHANGES = frozenset(
    f"/api/{path}"
    for path in (
        "approvals/approve", "approvals/refuse", "approvals/send", "letters/{number}/edit", "letters/{number}/note",
        "letters/replace", "letters/dismiss", "letters/reopen", "letters/assign", "letters/replay",
        "mappings/{name}/publish",
        "money/{period}/close", "money/{period}/tick", "money/{period}/untick", "alerts/{number}/acknowledge",
        "alerts/{number}/take-back",
        "alerts/{number}/silence", "alerts/{number}/speak", "alerts/acknowledge", "alerts/silence", "alerts/speak",
         "batches/{number}/accept-rejects", "reconciliation/start", "go-live/decide", "go-live/reopen", "go-live/back",
        "go-live/{flow}/launch", "go-live/{flow}/release", "go-live/{flow}/back",
        "records/read", "rules/publish", "rules/replay", "rules/versions/{number}/consent",
        "rules/versions/{number}/publish",
        "rules/versions/{number}/effects", "rules/versions/{number}/withdraw", "rules/take-back",
    )
)  # fmt: skip
AIMS = dict.fromkeys(("/api/mappings/{name}/trial", "/api/mappings/{name}/compare"), TRIAL)


@dataclass(frozen=True, eq=False)
class Call:
    """One request. `aim`: milliseconds that it may take at p95."""

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    aim: int = SLOW


@dataclass
class Taken:
    """What the answers to a call took, in milliseconds; the worst status of them."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    status: int = 0

    def add(self, status: int, wall: float, cpu: float) -> None:
        if not self.wall or not answered(self.status) >= answered(status):
            self.status = status
        self.wall.append(wall)
        self.cpu.append(cpu)


def answered(status: float) -> bool:
    """Whether there was an answer with what was asked for, or the way to it."""
    return HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST


def fill(url: str, records: int, letters: int, skus: int, lines: int) -> None:
    """Fills the database. Of the raw records 250 in 1,000 are of items, as many of quantities, the rest orders; of the
    last orders the books have the lines."""
    engine = database.engine(url, role=None)
    orders = max(records - 2 * skus, skus)
    values = {
        "records": records, "orders": orders, "letters": letters, "skus": skus,
        "subjects": list(SUBJECTS), "sales": (sales := min(lines // LINES_OF_A_SALE, orders)), "days": DAYS,
        "settled": sales // SETTLEMENTS,
    }  # fmt: skip
    for name in ("console", "console_ledger", "console_rest"):
        with engine.begin() as connection:
            connection.execute(sql.statement(__package__, name), values)
    person = on_this_machine("bench")
    with engine.begin() as connection:
        for number in range(VERSIONS):
            draft = Draft("prices.yaml", values=(ValueChange(("defaults", "margin"), str(49 + number)),))
            changed = {draft.path: text_of(connection, person, draft)}
            version = configuration.propose(connection, person, changed, "A version")
            configuration.publish(connection, person, version.number)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()


def calls() -> list[Call]:
    """The calls that read, as the app has them. Raises LookupError for a route that nobody has decided on."""
    from console.app import app

    found: list[Call] = []
    for route in app().routes:
        methods = route.methods  # type: ignore[attr-defined]
        if "GET" in methods:
            found += (
                Call(f"GET {path}", "GET", path, None, AIMS.get(route.path, SLOW))  # type: ignore[attr-defined]
                for path in _addresses(route)
            )
        elif route.path not in CHANGES:  # type: ignore[attr-defined]
            found += _posts(route)
    return found


def _posts(route: Any) -> Iterator[Call]:
    if route.path not in BODIES:
        raise LookupError(
            f"{route.path} is new: add what is sent to it to BODIES, or, if it changes anything, to CHANGES"
        )
    (path,) = _addresses(route)
    for number, body in enumerate(BODIES[route.path], 1):
        name = f"POST {path}" + (f" ({number})" if len(BODIES[route.path]) > 1 else "")
        yield Call(name, "POST", path, body(), AIMS.get(route.path, SLOW))


def _addresses(route: Any) -> list[str]:
    needed = [
        one.name
        for one in (*route.dependant.path_params, *route.dependant.query_params)
        if one.field_info.is_required()
    ]
    choices = OWN.get(route.path) or _choices(needed)
    found = []
    for values in choices:
        path = re.sub(r"\{([a-z_]+)[^}]*\}", lambda match, given=values: given[match[1]], route.path)
        query = {name: value for name, value in values.items() if f"{{{name}" not in route.path}
        found.append(f"{path}?{urlencode(query)}" if query else path)
    return found


def _choices(needed: list[str]) -> list[dict[str, str]]:
    """Each value of the parameter that has several, with the first one of the others."""
    first = {name: VALUES.get(name, ("1",))[0] for name in needed}
    several = [name for name in needed if len(VALUES.get(name, ())) > 1]
    return [first | {name: value} for name in several for value in VALUES[name]] or [first]


def served(url: str, home: Path) -> tuple[str, str]:
    """Airflow's own api-server in this process with the console; its address and a login that may see everything."""
    os.environ |= {
        "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"), "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR", "AIRFLOW_CONN_CROSSDOCK": url,
    }  # fmt: skip
    import uvicorn
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils import db

    db.initdb()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(apps="core"), port=port, log_level="error", lifespan="on"))
    threading.Thread(target=server.run, daemon=True).start()
    until = time.monotonic() + STARTED_WITHIN
    while not server.started:
        if time.monotonic() > until:
            raise RuntimeError("the api-server does not start")
        time.sleep(0.05)
    user = SimpleAuthManagerUser(username="bench", role="ADMIN")
    return f"http://127.0.0.1:{port}", get_auth_manager().generate_jwt(user)


def measure(address: str, token: str, times: int) -> dict[str, list[float]]:
    """What each call takes: all of them in turn, so many times, after one turn that is not counted."""
    import httpx

    wanted = calls()
    taken = {call: Taken() for call in wanted}
    often = dict.fromkeys(wanted, times)
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        for turn in range(times + 1):
            for call, own in taken.items():
                if turn > often[call]:
                    continue
                begun = time.monotonic()
                status, wall, cpu = _send(client, call)
                if turn:
                    own.add(status, wall, cpu)
                elif time.monotonic() - begun > LONG:
                    often[call] = min(FEW, times)
    return {
        call.name: [*_half_and_most(own.wall), round(median(own.cpu), 1), own.status, call.aim]
        for call, own in taken.items()
    }


def _half_and_most(taken: list[float]) -> tuple[float, float]:
    """Half of them took no longer, and 95 in 100."""
    parts = quantiles(taken, n=20, method="inclusive")
    return round(parts[9], 1), round(parts[18], 1)


def _send(client: Any, call: Call) -> tuple[int, float, float]:
    """The status of an answer (0: the connection was broken off), and what it took: milliseconds, of them CPU time of
    this process."""
    import httpx

    begun, worked = time.perf_counter(), time.process_time()
    try:
        with client.stream(call.method, PREFIX + call.path, json=call.body) as answer:
            status, wall = int(answer.status_code), 0.0
            is_file = "attachment" in answer.headers.get("content-disposition", "")
            for _ in answer.iter_raw():
                wall = wall or time.perf_counter() - begun
            if not is_file:
                wall = time.perf_counter() - begun
    except httpx.TransportError:
        status, wall = 0, time.perf_counter() - begun
    return status, wall * 1_000, (time.process_time() - worked) * 1_000


def main() -> None:
    url, (*sizes, times) = sys.argv[1], map(int, sys.argv[2:7])
    fill(url, *sizes)
    with tempfile.TemporaryDirectory(prefix="bench-airflow-", ignore_cleanup_errors=True) as home:
        address, token = served(url, Path(home))
        print(json.dumps(measure(address, token, times)), flush=True)
        os._exit(0)  # Airflow's threads do not end by themselves


if __name__ == "__main__":
    main()
