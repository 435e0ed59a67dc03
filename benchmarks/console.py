"""The console at size, measured over HTTP: `python -m benchmarks.console DATABASE RECORDS LETTERS SKUS TIMES`.

In: a migrated database. Out: it is filled with so many raw records, open dead letters and SKUs; then one line of JSON:
milliseconds of every page and API call that reads, [half of them, 95 in 100, HTTP status], by its address.
A broken connection is status 0.
Never: a route that is left out: they are found from the app.
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
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from crossdock.services.people import on_this_machine
from crossdock.services.rule_files import Draft, ValueChange, publish
from crossdock.settings import PROJECT
from crossdock.store import database, sql

PREFIX = "/crossdock"
SLOW = 300  # milliseconds that a page may take at p95
STARTED_WITHIN = 120  # seconds
ORDER, SKU, LETTER = "90000001", "SKU-000001", 1

# What stands for the parameters of routes, by name; several: each is measured.
VALUES: dict[str, tuple[str, ...]] = {
    "number": ("1",),
    "flow": ("orders",),
    "rule": ("unknown_sku",),
    "state": ("dead",),
    "key": (ORDER,),
    "hash": ("h",),
    "q": (ORDER, f"A-{ORDER}", "SO-90000001", SKU, "SKU-00", "nothing has this number"),
    "name": ("sales_order",),
    "target": ("ExternalOrderID",),
    "path": ("prices.yaml",),
}
# Of routes whose parameters mean something else; `kind` and `id` belong together.
OWN: dict[str, tuple[dict[str, str], ...]] = {
    "/static/{name:path}": ({"name": "console.css"},),
    "/api/records/{kind}": ({"kind": "order", "id": ORDER}, {"kind": "sku", "id": SKU}),
    "/record/{kind}": ({"kind": "order", "id": ORDER}, {"kind": "sku", "id": SKU}),
    "/api/overview/records": tuple({"flow": "orders", "state": each} for each in ("dead", "waiting", "delivered")),
    "/overview/records": tuple({"flow": "orders", "state": each} for each in ("dead", "waiting", "delivered")),
    **dict.fromkeys(
        ("/rules/file", "/api/rules/file"),
        ({"path": "lookups/carriers.csv"}, {"path": "lookups/settlement_kinds.csv"}, {"path": "posting.yaml"}),
    ),
    "/rules/history": ({"path": "prices.yaml"},),
    "/rules/change": ({"path": "prices.yaml", "number": "1"},),
}


def fill(url: str, records: int, letters: int, skus: int) -> None:
    """Fills the database. Of the raw records 250 in 1,000 are of items, as many of quantities, the rest orders."""
    engine = database.engine(url, role=None)
    orders = max(records - 2 * skus, skus)
    values = {"orders": orders, "letters": letters, "skus": skus}
    with engine.begin() as connection:
        connection.execute(sql.statement(__package__, "console"), values)
        change = ValueChange(("defaults", "margin"), "49")
        publish(connection, on_this_machine("bench"), Draft("prices.yaml", values=(change,)), "A version", None)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()


def addresses() -> list[str]:
    """The addresses that read, as the app has them."""
    from console.app import app

    found = []
    for route in app().routes:
        if "GET" in route.methods:  # type: ignore[attr-defined]
            found += _addresses(route)
    return found


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
    """Milliseconds of each address: all of them in turn, so many times, after one turn that is not counted."""
    import httpx

    taken: dict[str, list[float]] = {path: [] for path in addresses()}
    status: dict[str, int] = {}
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        for turn in range(times + 1):
            for path, own in taken.items():
                begun = time.perf_counter()
                status[path] = _status(client, PREFIX + path)
                if turn:
                    own.append((time.perf_counter() - begun) * 1_000)
    return {path: [*_half_and_most(own), status[path]] for path, own in taken.items()}


def _half_and_most(taken: list[float]) -> tuple[float, float]:
    """Half of them took no longer, and 95 in 100."""
    parts = quantiles(taken, n=20, method="inclusive")
    return round(parts[9], 1), round(parts[18], 1)


def _status(client: Any, path: str) -> int:
    """The status of an answer; 0: the connection was broken off."""
    import httpx

    try:
        return int(client.get(path).status_code)
    except httpx.TransportError:
        return 0


def main() -> None:
    url, (records, letters, skus, times) = sys.argv[1], map(int, sys.argv[2:6])
    fill(url, records, letters, skus)
    with tempfile.TemporaryDirectory(prefix="bench-airflow-", ignore_cleanup_errors=True) as home:
        address, token = served(url, Path(home))
        print(json.dumps(measure(address, token, times)), flush=True)
        os._exit(0)  # Airflow's threads do not end by themselves


if __name__ == "__main__":
    main()
