"""The pages inside the web UI: for people whom Airflow lets in, and nobody else."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from console import access, pages
from console.plugin import PREFIX, ConsolePlugin
from crossdock.store import database
from crossdock.store.tables import ops_reconcile_run
from dags.conftest import PROJECT
from integration.environment import fresh_database


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "console") as url:
        made = database.engine(url)
        with made.begin() as connection:
            for number in (1, 2):
                values = {"run_id": f"run {number}", "report": f"<p>report {number}</p>", "finished_at": sa.func.now()}
                connection.execute(sa.insert(ops_reconcile_run).values(**values))
        yield made
        made.dispose()


@pytest.fixture(scope="module")
def server(metadata: None) -> FastAPI:
    """Airflow's own api-server, with the plugins of the project."""
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@pytest.fixture
def anonymous(server: FastAPI, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(pages, "_engine", lambda: engine)
    return TestClient(server, raise_server_exceptions=False)


@pytest.fixture(params=["admin", "viewer", None])
def person(anonymous: TestClient, server: FastAPI, request: pytest.FixtureRequest) -> TestClient:
    """Whoever is logged in, whatever the role, also somebody who has none."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="somebody", role=request.param))
    return TestClient(server, headers={"Authorization": f"Bearer {token}"})


def routes() -> list[APIRoute]:
    return [route for route in pages.app().routes if isinstance(route, APIRoute)]


def test_the_app_has_pages_and_no_other_routes() -> None:
    assert {route.path for route in routes()} == {"/reconcile", "/reconcile/", "/reconcile/{number}"}
    assert len(routes()) == len(pages.app().routes), "a route that is no APIRoute has no login"


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.path)
def test_no_page_opens_without_a_login(anonymous: TestClient, route: APIRoute) -> None:
    for method in route.methods:
        answer = anonymous.request(method, PREFIX + route.path.replace("{number}", "1"), follow_redirects=False)
        assert answer.status_code in (401, 403), route.path
        assert "report" not in answer.text


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/reconcile/../reconcile/1", "/nothing"])
def test_nothing_else_is_told_to_anybody(anonymous: TestClient, path: str) -> None:
    answer = anonymous.get(PREFIX + path, follow_redirects=False)
    assert answer.status_code in (401, 403, 404)
    assert "reconcile/{number}" not in answer.text
    assert "report 1" not in answer.text


def test_a_forged_login_opens_nothing(anonymous: TestClient) -> None:
    for headers in ({"Authorization": "Bearer forged"}, {"Cookie": "_token=forged"}):
        assert anonymous.get(f"{PREFIX}/reconcile/1", headers=headers).status_code in (401, 403)


def test_a_person_sees_the_last_report_and_any_other(person: TestClient) -> None:
    assert person.get(f"{PREFIX}/reconcile/").text == "<p>report 2</p>"
    assert person.get(f"{PREFIX}/reconcile").text == "<p>report 2</p>"
    answer = person.get(f"{PREFIX}/reconcile/1")
    assert answer.text == "<p>report 1</p>"
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert person.get(f"{PREFIX}/reconcile/99").status_code == 404
    assert person.get(f"{PREFIX}/reconcile/x").status_code == 422


def test_where_airflow_has_no_such_check_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)
        importlib.reload(access)
        with pytest.raises(HTTPException) as refused:
            access.may_see_pages()
    assert refused.value.status_code == 403
    importlib.reload(access)


def test_airflow_finds_the_plugin_and_names_the_page_in_its_menu() -> None:
    from airflow import plugins_manager

    apps, _ = plugins_manager.get_fastapi_plugins()
    assert PREFIX in [app["url_prefix"] for app in apps]
    (view,) = ConsolePlugin.external_views
    assert (view["destination"], view["href"]) == ("nav", f"{PREFIX}/reconcile/")


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    """Every Airflow process does."""
    code = (
        "import sys; sys.path[:0] = ['include', 'plugins']\nimport airflow.plugins_manager\nbefore = set(sys.modules)\n"
        "import console.plugin\n"
        "print(sorted(set(sys.modules) - before))"
    )
    environment: dict[str, Any] = os.environ | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip().endswith("['console', 'console.plugin']")
