"""Airflow's connections as the library's, and the runtime that steps take.

In: connection ids `crossdock`, `channel_advisor`, `tims`, from the UI, a secrets backend or the environment.
Out: a `Runtime`. Never: copies a secret anywhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, ObjectStoragePath
from airflow.sdk.exceptions import AirflowNotFoundException

from crossdock.errors import ConfigError

if TYPE_CHECKING:
    from crossdock.runtime import Runtime
    from crossdock.systems.connections import Connection

DATABASE = "crossdock"


def runtime() -> Runtime:
    """The runtime of a task: close it (it is a context manager)."""
    from crossdock.runtime import Runtime

    return Runtime(database_url(), connection, inbox())


def inbox() -> ObjectStoragePath | None:
    """The inbox of files where CROSSDOCK_INBOX names an object store (`s3://connection_id@bucket/folder`), with the
    credentials of that Airflow connection; None: a folder of this machine."""
    url = os.environ.get("CROSSDOCK_INBOX", "")
    return ObjectStoragePath(url) if "://" in url else None


def connection(name: str) -> Connection:
    """A system's connection. Raises ConfigError in one sentence when it is missing or broken."""
    from crossdock.systems.connections import parse

    return parse(name, _existing(name).as_json())


def database_url() -> str:
    """The connection `crossdock`; the local installation names its embedded Postgres so. Raises ConfigError where there
    is none: a database that nobody named would be an empty one, in which nothing is known."""
    return _existing(DATABASE).get_uri()


def _existing(name: str) -> Any:
    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"Airflow has no connection {name}.",
            do=f"Add it under Admin > Connections, or set AIRFLOW_CONN_{name.upper()}.",
            system=name,
        ) from error
