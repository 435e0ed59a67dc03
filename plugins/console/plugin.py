"""The Airflow plugin of the console: mounts its pages below /crossdock and names it in the menu.

Every Airflow process imports this file: the app and what it needs are made at its first request.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/crossdock"


async def console(scope: Any, receive: Any, send: Any) -> None:
    """The app, as a server calls it. It keeps Airflow's own app at hand, to start runs through it."""
    from console.app import app
    from console.runs import AIRFLOW

    await app()({**scope, AIRFLOW: scope.get("app")}, receive, send)


class ConsolePlugin(AirflowPlugin):
    """Pages inside the web UI."""

    name = "crossdock_console"
    fastapi_apps: list[Any] = [{"app": console, "url_prefix": PREFIX, "name": "Crossdock"}]  # noqa: RUF012
    external_views: list[Any] = [  # noqa: RUF012
        {
            "name": "Crossdock",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "crossdock",
        }
    ]
