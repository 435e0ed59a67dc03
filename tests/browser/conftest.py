"""The console in a real browser: Airflow's own api-server with the plugin, both systems over HTTP, a real Postgres.

Debian's `chromium` (or what CROSSDOCK_CHROMIUM names) is driven by Playwright; without one these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from crossdock import flows
from crossdock.flow import Flow
from crossdock.steps.check import check
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import STEPS, run_batches
from crossdock.store import batches, database
from dags.conftest import PROJECT, bag, metadata
from integration.environment import Environment, found_environment, unhurried

__all__ = ["bag", "metadata"]
CHROMIUM = os.environ.get("CROSSDOCK_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent / "axe.min.js"
SHOTS = PROJECT / ".run" / "screenshots"
DAYS = ("2011-01-06", "2011-01-08")
ROLES = {"viewer": "Viewer", "clerk": "Clerk", "analyst": "Analyst", "accountant": "Accountant", "admin": "Admin"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="There is no chromium: apt install chromium"))


@pytest.fixture(scope="session")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Some days of trade that all flows have worked; about ten orders a day. Tests share it: each has records of its
    own."""
    folder = tmp_path_factory.mktemp("shop")
    with unhurried(folder / "config"), found_environment(postgres_url, "shop", folder / "systems") as environment:
        environment.inbox = tmp_path_factory.mktemp("inbox")  # not the one of this checkout
        environment.part = 5
        for day in DAYS:
            environment.tick(day)
            for flow in flows.all_flows():
                environment.sync(flow=flow)
        yield environment


@dataclass
class Console:
    """The console of a shop, and the browser that looks at it."""

    url: str
    shop: Environment
    browser: Browser
    tokens: Callable[[str], str]

    def login(self, role: str, **how: Any) -> Page:
        """A page of somebody with one role. What goes wrong in it fails the test that ends with `quiet`."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB",
                                              "timezone_id": "Europe/London", **how})  # fmt: skip
        context.add_cookies([{"name": "_token", "value": self.tokens(role), "url": self.url}])
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.problems = problems  # type: ignore[attr-defined]
        return page

    def open(self, page: Page, path: str) -> Page:
        page.goto(f"{self.url}/crossdock{path}", wait_until="networkidle")
        return page

    def query(self, statement: str) -> list[sa.Row]:
        return self.shop.query(statement)

    def work_asked_runs(self) -> int:
        """Plays Airflow's worker: does what the runs that were asked for would do, by the calls of their tasks."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState

        done = 0
        with create_session() as session:
            waiting = list(session.scalars(sa.select(DagRun).where(DagRun.state == DagRunState.QUEUED)))
            for run in waiting:
                names = [name for name, package in flows.packages().items() if package == run.dag_id]
                for name in names:
                    self._work(flows.get(name), run.run_id, run.conf or {})
                run.state = DagRunState.SUCCESS
                done += 1
            session.commit()
        return done

    def _work(self, flow: Flow, run_id: str, conf: dict[str, Any]) -> None:
        with self.shop.runtime() as runtime:
            if accepted := conf.get("accept_rejects"):
                with runtime.engine.begin() as connection:
                    ids = batches.stopped(connection, flow.name, accepted)
                for batch_id in ids:
                    for name, step in STEPS.items():
                        more = {"accept_rejects": True} if name == "check" else {}
                        step(runtime, flow, batch_id, run_id=run_id, **more)
                return
            keys = conf.get("replay") or conf.get("keys") or []
            kind = "replay" if conf.get("replay") else "key" if keys else "scheduled"
            ids = extract(runtime, flow, Window(), kind=kind, run_id=run_id, keys=keys)
            run_batches(runtime, flow, ids, run_id=run_id)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def airflow_server(metadata: None, bag: Any) -> Iterator[str]:
    """Airflow's own api-server with the plugins of the project, and our DAGs known and switched on; its address."""
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        session.execute(sa.update(DagModel).values(is_paused=False))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(apps="core"), port=port, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the api-server has ended"
        assert time.monotonic() < until, "the api-server does not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="session")
def console(airflow_server: str, shop: Environment, browser: Browser) -> Iterator[Console]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    from console import access
    from console import database as console_database

    made = database.engine(shop.database_url)

    def token(role: str) -> str:
        # A login of Airflow's own role, with Crossdock's role by name as `people` of console.yaml gives it.
        own = {"viewer": "VIEWER", "admin": "ADMIN"}.get(role, "OP")
        return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=role, role=own))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console_database, "engine", lambda: made)
        patch.setattr(access, "roles_of", lambda user: [ROLES[user.get_name()]])
        yield Console(airflow_server, shop, browser, token)
    made.dispose()


def axe(page: Page) -> list[str]:
    """What axe-core finds serious or critical on a page, in words."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def shot(page: Page, name: str) -> None:
    """Keeps a screenshot for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def read_whatever_breaks(shop: Environment, flow_name: str = "orders") -> None:
    """Reads a flow and works it, also where most of its records break a rule."""
    flow = flows.get(flow_name)
    with shop.runtime() as runtime:
        for batch_id in extract(runtime, flow):
            STEPS["transform"](runtime, flow, batch_id)
            check(runtime, flow, batch_id, accept_rejects=True)
            STEPS["load"](runtime, flow, batch_id)
            STEPS["confirm"](runtime, flow, batch_id)
