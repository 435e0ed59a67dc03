"""The Airflow plugin of the pages: mounts them below /crossdock and names them in the menu.

Every Airflow process imports this file: the app and what it needs are made at its first request.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/crossdock"


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """The app, as a server calls it."""
    from console.pages import app

    await app()(scope, receive, send)


class ConsolePlugin(AirflowPlugin):
    """Pages inside the web UI."""

    name = "crossdock_console"
    fastapi_apps: list[Any] = [{"app": pages, "url_prefix": PREFIX, "name": "Crossdock"}]  # noqa: RUF012
    external_views: list[Any] = [  # noqa: RUF012
        {
            "name": "Reconciliation",
            "href": f"{PREFIX}/reconcile/",
            "destination": "nav",
            "category": "browse",
            "url_route": "reconciliation",
        }
    ]
