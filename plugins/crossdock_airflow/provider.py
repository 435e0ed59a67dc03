"""Tells Airflow of the two connection types, so that the UI offers them (entry point `apache_airflow_provider`)."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The hooks by connection type, with the words of their forms."""
    return {
        "package-name": "crossdock",
        "name": "Crossdock",
        "description": "Connections of Channel Advisor and TIMS.",
        "connection-types": [
            _connection_type(
                "channel_advisor", "Channel Advisor", "ChannelAdvisorHook", "Application id", '{"refresh_token": "..."}'
            ),
            _connection_type("tims", "TIMS", "TimsHook", "Client id", "{}"),
        ],
    }


def _connection_type(kind: str, name: str, hook: str, login: str, extra: str) -> dict[str, Any]:
    return {
        "connection-type": kind,
        "hook-name": name,
        "hook-class-name": f"crossdock_airflow.hooks.{hook}",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"host": "Base URL", "login": login, "password": "Secret"},
            "placeholders": {"host": "https://api.example.com", "extra": extra},
        },
    }
