"""The pages inside the web UI: for people whom Airflow lets in, and nobody else."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from benchmarks import console as benchmark
from fastapi import FastAPI, HTTPException
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from airflow_home import PROJECT
from console import access, model, runs
from console import app as console_app
from console import database as console_database
from console.plugin import PREFIX, ConsolePlugin
from contract.misbehaving import Server, ok
from crossdock import settings
from crossdock.services import configuration
from crossdock.services.people import Person, Role
from crossdock.store import database, dead_letters
from crossdock.store.tables import ops_dead_letter, ops_reconcile_run
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
    monkeypatch.setattr(console_database, "engine", lambda: engine)
    return TestClient(server, raise_server_exceptions=False)


def login(server: FastAPI, role: str | None) -> TestClient:
    """Somebody who is logged in with a role of Airflow's, as a program is."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="somebody", role=role))
    return TestClient(server, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)


@pytest.fixture(params=["admin", "viewer"])
def person(anonymous: TestClient, server: FastAPI, request: pytest.FixtureRequest) -> TestClient:
    """Whoever has a role."""
    return login(server, request.param)


def routes() -> list[APIRoute]:
    return [route for route in console_app.app().routes if isinstance(route, APIRoute)]


def address(route: APIRoute) -> str:
    """An address of a route; what stands for a number is one."""
    return PREFIX + re.sub(r"\{[^}]*\}", "1", route.path)


def named(route: APIRoute) -> str:
    return f"{min(route.methods)} {route.path}"


def test_every_route_is_one_that_asks_who_is_there() -> None:
    assert len(routes()) == len(console_app.app().routes), "a route that is no APIRoute has no login"
    for route in routes():
        assert access.asks in {one.call for one in route.dependant.dependencies}, route.path


@pytest.mark.parametrize("route", routes(), ids=named)
def test_no_route_opens_without_a_login(anonymous: TestClient, route: APIRoute) -> None:
    for method in route.methods:
        answer = anonymous.request(method, address(route), follow_redirects=False)
        assert answer.status_code in (401, 403), route.path
        assert "report" not in answer.text


@pytest.mark.parametrize("route", routes(), ids=named)
def test_no_route_opens_for_a_login_without_a_role(anonymous: TestClient, server: FastAPI, route: APIRoute) -> None:
    nobody = login(server, None)
    for method in route.methods:
        answer = nobody.request(method, address(route), follow_redirects=False, json={})
        assert answer.status_code == 403, route.path


def test_a_browser_without_a_login_is_sent_to_airflows_login_and_back(anonymous: TestClient) -> None:
    answer = anonymous.get(f"{PREFIX}/letters?a=1", headers={"Accept": "text/html"}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/api/v2/auth/login?next=http%3A%2F%2Ftestserver%2Fcrossdock%2Fletters%3Fa%3D1"
    onward = anonymous.get(answer.headers["location"], follow_redirects=False)
    assert onward.status_code in (302, 303, 307)
    assert "login?next=" in onward.headers["location"]


CHANGES = [route for route in routes() if route.methods - {"GET", "HEAD"}]


@pytest.mark.parametrize("route", CHANGES, ids=named)
def test_nothing_changes_without_the_pages_own_token(anonymous: TestClient, server: FastAPI, route: APIRoute) -> None:
    """What another site's page can make a browser send: the cookie, and nothing that it had to read."""
    cookie = login(server, "admin").headers["authorization"].removeprefix("Bearer ")
    for headers in ({}, {access.TOKEN_HEADER: "forged"}, {access.TOKEN_HEADER: ""}):
        browser = TestClient(server, cookies={"_token": cookie}, headers=headers, raise_server_exceptions=False)
        for method in route.methods:
            answer = browser.request(method, address(route), json={})
            assert answer.status_code == 403, (route.path, answer.text)
            assert "Load the page again" in answer.text


@pytest.mark.parametrize("route", CHANGES, ids=named)
def test_a_viewer_changes_nothing(anonymous: TestClient, server: FastAPI, route: APIRoute) -> None:
    """The person is refused before the request is read."""
    viewer = login(server, "viewer")
    for method in route.methods:
        answer = viewer.request(method, address(route), json={})
        assert answer.status_code == 403, (route.path, answer.text)


@pytest.mark.parametrize("route", [route for route in CHANGES if route.body_field], ids=named)
def test_a_body_with_a_field_that_nobody_knows_is_refused(anonymous: TestClient, server: FastAPI, route: APIRoute):
    """It may be a misspelt choice of what to change: without it the request would mean something else."""
    answer = login(server, "admin").request(min(route.methods), address(route), json={"no_such_field": [1]})
    assert answer.status_code == 422
    assert "no_such_field" in answer.text


def test_what_no_record_can_hold_is_refused_in_words(anonymous: TestClient, server: FastAPI) -> None:
    """Half a character comes through JSON; a digit of another kind is no number."""
    admin, path = login(server, "admin"), f"{PREFIX}/api/mappings/sales_order"
    text = admin.get(path).json()["text"]
    for what, body in (("trace", {"key": "\ud800", "text": text}), ("compare", {"keys": ["\ud800"], "text": text})):
        sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        answer = admin.post(f"{path}/{what}", **sent)
        assert (answer.status_code, "half a character" in answer.text) == (422, True), answer.text
    assert admin.get(f"{path}/records", params={"after": "²:x"}).json() == []
    words = admin.post(f"{path}/change", json={"text": text, "change": {"do": "change", "words": {"from": 5}}})
    assert words.status_code == 422
    long = admin.post(f"{path}/draft", json={"text": "#" * 1_000_001})
    assert (long.status_code, "at most 1000000 characters" in long.text) == (422, True)


def test_suggestions_ask_the_language_model_of_airflows_connection_and_go_on_without(
    anonymous: TestClient, server: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{PREFIX}/api/mappings/sales_order/suggestions?target=ExternalOrderID&although_mapped=true"
    admin, helper = login(server, "admin"), Server()
    named = json.dumps({"suggestions": {"ExternalOrderID": ["OrderID"]}})
    reply = ok({"choices": [{"message": {"role": "assistant", "content": named}}]})
    helper.default("/v1/chat/completions", reply)
    connection = {"conn_type": "http", "host": f"{helper.url}/v1", "login": "a-model", "password": "a-key"}
    try:
        for made, words in ((None, False), (connection, True), ({**connection, "login": ""}, False)):
            monkeypatch.delenv("AIRFLOW_CONN_CROSSDOCK_AI", raising=False)
            if made:
                monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK_AI", json.dumps(made))
            model._connected.cache_clear()
            answer = admin.get(path)
            assert answer.status_code == 200, answer.text
            found = {one["source"]: one["why"] for one in answer.json()["suggestions"]}
            assert ("the language model names it too" in found["OrderID"]) is words
    finally:
        model._connected.cache_clear()
        helper.close()


def test_every_route_that_only_answers_is_measured_at_size() -> None:
    measured = benchmark.calls()
    for route in routes():
        pattern = re.sub(r"\\{[^}]*\\}", "[^?]+", re.escape(route.path))
        own = [one for one in measured if re.fullmatch(rf"{pattern}(\?.*)?", one.path) and one.method in route.methods]
        assert bool(own) != (route.path in benchmark.CHANGES), route.path
    assert len(measured) == len({call.name for call in measured})
    assert {route.path for route in CHANGES} >= benchmark.CHANGES
    assert set(benchmark.OWN) | set(benchmark.BODIES) <= {route.path for route in routes()}


def test_a_route_that_nobody_has_decided_on_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "CHANGES", benchmark.CHANGES - {"/api/letters/dismiss"})
    with pytest.raises(LookupError, match="/api/letters/dismiss is new"):
        benchmark.calls()


def test_a_token_is_of_one_person_alone() -> None:
    ada, bob = (Person(name, frozenset({Role.CLERK})) for name in ("ada", "bob"))
    assert access.token(ada) != access.token(bob)
    assert access.token(ada) == access.token(ada)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/reconcile/../reconcile/1", "/nothing"])
def test_nothing_else_is_told_to_anybody(anonymous: TestClient, path: str) -> None:
    answer = anonymous.get(PREFIX + path, follow_redirects=False)
    assert answer.status_code in (401, 403, 404)
    assert "reconcile/{number}" not in answer.text
    assert "report 1" not in answer.text


def parameters(route: APIRoute) -> list[str]:
    """The names of what an address of a route may ask for."""
    return [field.alias for field in get_flat_dependant(route.dependant).query_params]


@pytest.mark.parametrize("odd", ["%00", "a%00b", "99999999999999999999999"])
@pytest.mark.parametrize("route", [route for route in routes() if "GET" in route.methods], ids=named)
def test_an_odd_address_is_refused_in_words(anonymous: TestClient, server: FastAPI, route: APIRoute, odd: str) -> None:
    """Each part of the path and each name of the query: no answer without words, no fault of the server's own."""
    admin = login(server, "admin")
    usual = address(route)
    pages = [PREFIX + re.sub(r"\{[^}]*\}", odd, route.path)] if "{" in route.path else []
    pages += [f"{usual}?{'&'.join(f'{name}={odd}' for name in parameters(route))}"] if parameters(route) else []
    pages += [f"{usual}?{name}={odd}" for name in parameters(route)]
    for page in pages:
        answer = admin.get(page, follow_redirects=False)
        assert answer.status_code in (200, 303, 307, 404, 422), (page, answer.status_code, answer.text[:200])
        if answer.status_code in (404, 422):
            assert in_words(answer), (page, answer.text[:200])


def in_words(answer: Any) -> bool:
    """Whether a refusal says what is wrong."""
    if answer.headers["content-type"].startswith("application/json"):
        return " " in answer.json()["detail"]
    return "This does not work" in answer.text


def test_an_address_that_nothing_answers_says_so(anonymous: TestClient, server: FastAPI) -> None:
    for one in (anonymous, login(server, "admin")):
        page = one.get(f"{PREFIX}/no/such/page", headers={"Accept": "text/html"})
        assert page.status_code == 404
        assert "There is no such page." in page.text
        assert f'href="{PREFIX}/"' in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "somebody" not in page.text
        for path in ("/api/no/such", "/no/such/page"):
            answer = one.get(PREFIX + path)
            assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such page.")
            assert f"{PREFIX}/" in answer.json()["do"]


def test_a_file_that_cannot_be_made_is_refused_in_words_before_anything_is_sent(
    anonymous: TestClient, server: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossdock.services import audit

    def broken(connection: sa.Connection, **given: Any) -> Iterator[str]:
        connection.execute(sa.text("SELECT * FROM ops.no_such_table"))
        yield "never"

    monkeypatch.setattr(audit, "as_csv", broken)
    answer = login(server, "admin").get(f"{PREFIX}/audit/audit.csv")
    assert answer.status_code == 422
    assert "lacks a table" in answer.text


@pytest.mark.parametrize(
    "path", ["../app.py", "..%2fapp.py", "%2e%2e/access.py", "/etc/passwd", "templates/base.html", ""]
)
def test_no_file_is_served_but_our_scripts_and_styles(person: TestClient, path: str) -> None:
    assert person.get(f"{PREFIX}/static/{path}").status_code == 404
    answer = person.get(f"{PREFIX}/static/console.css")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css")


def test_a_forged_login_opens_nothing(anonymous: TestClient) -> None:
    for headers in ({"Authorization": "Bearer forged"}, {"Cookie": "_token=forged"}):
        assert anonymous.get(f"{PREFIX}/reconcile/1", headers=headers).status_code in (401, 403)


def test_a_person_sees_the_last_report_and_any_other(person: TestClient) -> None:
    assert "<p>report 2</p>" in person.get(f"{PREFIX}/reconcile/").text
    assert "<p>report 2</p>" in person.get(f"{PREFIX}/reconcile").text
    answer = person.get(f"{PREFIX}/reconcile/1")
    assert "<p>report 1</p>" in answer.text
    assert f'href="{PREFIX}/reconciliation/1"' in answer.text, "the way back"
    assert f'href="{PREFIX}/money"' in answer.text, "the menu"
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert person.get(f"{PREFIX}/reconcile/99").status_code == 404
    assert person.get(f"{PREFIX}/reconcile/x").status_code == 422
    assert "script-src 'self'" in person.get(f"{PREFIX}/letters").headers["content-security-policy"]


def test_where_airflow_has_no_such_check_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)
        importlib.reload(access)
        with pytest.raises(HTTPException) as refused:
            access.known_to_airflow()
    assert refused.value.status_code == 403
    importlib.reload(access)


def test_airflow_finds_the_plugin_and_names_the_page_in_its_menu() -> None:
    from airflow import plugins_manager

    apps, _ = plugins_manager.get_fastapi_plugins()
    assert PREFIX in [app["url_prefix"] for app in apps]
    (view,) = ConsolePlugin.external_views
    assert (view["destination"], view["href"]) == ("nav", f"{PREFIX}/")


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


def test_pages_read_the_configuration_in_force(
    engine: sa.Engine, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_database, "engine", lambda: engine)
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    ada, name = Person("ada", frozenset({Role.ANALYST})), "lookups/carriers.csv"
    with console_database.transaction(ada) as connection:
        before = configuration.text(connection, name)
        changed = {name: f"{before}Drone,Fast,Drone,Air\n"}
        version = configuration.propose(connection, ada, changed, "The drone carrier")
        configuration.publish(connection, ada, version.number)
        assert settings.version() is None  # a request goes on as it began
    with console_database.transaction(ada) as connection:
        assert settings.version() == version.number
        assert (settings.config_dir() / name).read_text("utf-8") == changed[name]
        configuration.rollback(connection, ada, configuration.SHIPPED)
    with console_database.transaction(ada):
        assert (settings.config_dir() / name).read_text("utf-8") == before
    assert settings.root() is None


# ---- dead letters through the API ------------------------------------------------------------------------------------


@pytest.fixture
def letter(engine: sa.Engine) -> Iterator[int]:
    """The number of a dead letter."""
    payload = {"ChannelAdvisorOrderID": 1, "OrderID": "A"}
    reason = {"rule": "unknown_sku", "value": "X", "field": "OrderItems.SKU", "line": "", "says": "X is wrong",
              "do": "Mend it"}  # fmt: skip
    made = {"flow": "orders", "entity": "sales_order", "key": "L1", "batch_id": 1, "step": "check",
            "reasons": [reason], "version": "2011-01-06T00:00:00+00:00", "payload": payload}  # fmt: skip
    with engine.begin() as connection:
        dead_letters.dead_letter(connection, [made])
        number = connection.scalar(sa.select(ops_dead_letter.c.id).where(ops_dead_letter.c.key == "L1"))
    yield int(number or 0)
    with engine.begin() as connection:
        connection.execute(sa.delete(ops_dead_letter))


def marked(engine: sa.Engine, number: int) -> bool:
    with engine.begin() as connection:
        query = sa.select(ops_dead_letter.c.replay_asked_at).where(ops_dead_letter.c.id == number)
        return connection.scalar(query) is not None


@pytest.mark.parametrize("body", [{}, {"numbers": []}, {"only_gone": True}, {"value": "X"}, {"all": False}])
def test_a_replay_of_nothing_chosen_is_refused(
    anonymous: TestClient, server: FastAPI, engine: sa.Engine, letter: int, body: dict[str, Any]
) -> None:
    answer = login(server, "admin").post(f"{PREFIX}/api/letters/replay", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, "No dead letters were chosen.")
    assert not marked(engine, letter)


def test_a_letter_in_replay_is_free_again_once_its_run_is_over(
    anonymous: TestClient, server: FastAPI, engine: sa.Engine, letter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, started = ["queued"], []

    async def trigger(_request: Any, dag: str, conf: Any, _note: str) -> str:
        started.append((dag, dict(conf)))
        return f"manual {len(started)}"

    async def of_run(_request: Any, dag: str, run: str) -> str:
        assert (dag, run) == ("orders", f"manual {len(started)}")
        return states[-1]

    monkeypatch.setattr(runs, "trigger", trigger)
    monkeypatch.setattr(runs, "state", of_run)
    admin = login(server, "admin")

    def post(what: str, **body: Any) -> Any:
        return admin.post(f"{PREFIX}/api/letters/{what}", json=body)

    assert post("replay", numbers=[letter]).json()["count"] == 1
    for state in ("queued", "running", "unknown"):
        states.append(state)
        again = post("replay", flow="orders", rule="unknown_sku").json()
        assert again["count"] == 0
        assert "1 is in replay" in again["message"]
        page = admin.get(f"{PREFIX}{again['page']}")
        assert "Still at work" in page.text
        for answer in (
            post(f"{letter}/edit", changes={"OrderID": "B"}),
            post("dismiss", numbers=[letter], note="no"),
        ):
            assert answer.status_code == 422
            assert "is in replay" in answer.json()["detail"]
    page = admin.get(f"{PREFIX}/letters/{letter}").text
    assert "Until it comes back it cannot be replayed" in page
    assert 'id="edit"' not in page
    assert len(started) == 1
    states.append("failed")
    page = admin.get(f"{PREFIX}/letters/{letter}").text
    assert "has ended without it" in page
    assert 'id="edit"' in page
    assert not marked(engine, letter)
    assert post("replay", numbers=[letter]).json()["count"] == 1
    assert len(started) == 2


def test_an_edit_of_a_letter_that_somebody_has_changed_meanwhile_is_refused(
    anonymous: TestClient, server: FastAPI, letter: int
) -> None:
    admin = login(server, "admin")
    path = f"{PREFIX}/api/letters/{letter}"
    seen = admin.get(path).json()["seen"]
    assert seen in admin.get(f"{PREFIX}/letters/{letter}").text
    made = admin.post(f"{path}/edit", json={"changes": {"OrderID": "B"}, "seen": seen})
    assert made.json()["seen"] == admin.get(path).json()["seen"] != seen
    later = admin.post(f"{path}/edit", json={"changes": {"OrderID": "C"}, "seen": seen})
    assert (later.status_code, later.json()["detail"]) == (422, "somebody has changed this letter meanwhile.")
    replay = admin.post(f"{PREFIX}/api/letters/replay", json={"numbers": [letter], "seen": seen})
    assert replay.status_code == 422
    page = admin.get(f"{PREFIX}/letters/{letter}").text
    assert "edited it: OrderID" in page
    assert 'data-was="B"' in page


def test_who_works_on_a_letter_can_stop_to(anonymous: TestClient, server: FastAPI, letter: int) -> None:
    admin = login(server, "admin")
    admin.post(f"{PREFIX}/api/letters/assign", json={"numbers": [letter], "to": "somebody"})
    page = admin.get(f"{PREFIX}/letters/{letter}").text
    assert "I no longer work on it" in page
    admin.post(f"{PREFIX}/api/letters/assign", json={"numbers": [letter], "to": None})
    page = admin.get(f"{PREFIX}/letters/{letter}").text
    assert "I work on it" in page
    assert "I no longer work on it" not in page


def test_a_letter_that_is_closed_gives_no_advice(
    anonymous: TestClient, server: FastAPI, engine: sa.Engine, letter: int
) -> None:
    admin = login(server, "admin")
    assert "Mend it" in admin.get(f"{PREFIX}/letters/{letter}").text
    with engine.begin() as connection:
        dead_letters.close_resolved(connection, "orders", ["L1"], replay=True)
    page = admin.get(f"{PREFIX}/letters/{letter}").text
    assert "Why it was refused" in page
    assert "X is wrong" in page
    assert "Mend it" not in page
