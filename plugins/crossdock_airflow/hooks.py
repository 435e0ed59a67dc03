"""The systems as Airflow hooks, so that their connections live in Airflow and can be tested there.

In: a connection of type `channel_advisor`, `tims` or `http`: host = base URL; login = application or client id;
password = its secret; extra.refresh_token for Channel Advisor. Out: the library's client.
Never: a second way to speak to a system; every request goes through the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.http.hooks.http import HttpHook

from crossdock.errors import CrossdockError

if TYPE_CHECKING:
    from crossdock.systems.channel_advisor import ChannelAdvisor
    from crossdock.systems.connections import Connection
    from crossdock.systems.tims import Tims


class _SystemHook(HttpHook):
    """What both have in common: the connection, and its test by one small request."""

    conn_name_attr = "conn_id"
    conn_type: str
    default_conn_name: str

    def __init__(self, conn_id: str | None = None, **kwargs: Any) -> None:
        self.conn_id = conn_id or self.default_conn_name
        super().__init__(http_conn_id=self.conn_id, **kwargs)

    def system_connection(self) -> Connection:
        """The Airflow connection as the library's. Raises ConfigError when it is broken."""
        from crossdock.systems.connections import parse

        return parse(self.conn_type, self.get_connection(self.conn_id).as_json())

    def test_connection(self) -> tuple[bool, str]:
        """Logs in and reads one thing; says in one sentence what is wrong if that fails."""
        try:
            return True, self._try()
        except CrossdockError as error:
            return False, str(error)

    def _try(self) -> str:
        raise NotImplementedError


class ChannelAdvisorHook(_SystemHook):
    """Channel Advisor."""

    conn_type = "channel_advisor"
    default_conn_name = "channel_advisor"
    hook_name = "Channel Advisor"

    def get_client(self) -> ChannelAdvisor:
        """The client, without the budget that tasks share; a context manager."""
        from crossdock.systems.channel_advisor import client_of

        return client_of(self.system_connection())

    def _try(self) -> str:
        with self.get_client() as client:
            return f"Logged in; the server's time is {client.server_time():%Y-%m-%d %H:%M:%S} UTC."


class TimsHook(_SystemHook):
    """TIMS."""

    conn_type = "tims"
    default_conn_name = "tims"
    hook_name = "TIMS"

    def get_client(self) -> Tims:
        """The client, without the budget that tasks share; a context manager."""
        from crossdock.systems.tims import client_of

        return client_of(self.system_connection())

    def _try(self) -> str:
        with self.get_client() as client:
            return f"Logged in; the company is {client.company().get('Name', 'without a name')}."
