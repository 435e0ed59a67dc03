"""What a step needs to work: the database and the two systems, made from connections.

In: the environment (or connections handed over by Airflow). Out: one `Runtime` that opens each system on first use
and closes everything. Never: keeps a secret longer than the clients do.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cache, cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from crossdock.errors import ConfigError, Transient
from crossdock.store import database, faults, versions
from crossdock.store.jobs import Jobs
from crossdock.store.tables import ref_channel_product
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor import Abilities, ChannelAdvisor, abilities_of, client_of
from crossdock.systems.connections import Connection, from_environment
from crossdock.systems.tims import Tims
from crossdock.systems.tims import client_of as tims_of

if TYPE_CHECKING:
    from crossdock.systems.inbox import Inbox
    from crossdock.systems.settlement_ledger import SettlementLedger

log = logging.getLogger(__name__)
Source = Callable[[str], Connection]


# Options of mallopt(3). Without them an arena per thread, and pages kept for reuse, cost a hundred megabytes.
_MALLOC = {
    -8: 1,  # M_ARENA_MAX
    -3: 4 << 20,  # M_MMAP_THRESHOLD: larger blocks are mapped by themselves and returned when they are freed
    -1: 32 << 20,  # M_TRIM_THRESHOLD
}


@cache
def spare_memory() -> None:
    """Returns freed memory to the system, and freezes what is imported by now: it lives as long as the process, and
    each scan of it by the garbage collector costs up to half a second. Runs once per process."""
    gc.freeze()
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps the pages of each thread
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            for option, value in _MALLOC.items():
                libc.mallopt(option, value)


def database_url() -> str | None:
    """AIRFLOW_CONN_CROSSDOCK as a URL; None where it is not set."""
    text = os.environ.get("AIRFLOW_CONN_CROSSDOCK", "")
    return text or None if not text.lstrip().startswith("{") else _url_of_json(text)


def _url_of_json(text: str) -> str:
    import json

    try:
        parts = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"AIRFLOW_CONN_CROSSDOCK is neither a URI nor JSON: {error}.",
            do='Set it to postgresql://user:password@host:port/database, or {"conn_type": "postgres", ...}.',
        ) from error
    extra = parts.get("extra") or {}
    return sa.URL.create(
        "postgresql",
        username=parts.get("login"),
        password=parts.get("password"),
        host=parts.get("host"),
        port=parts.get("port"),
        database=parts.get("schema"),
        query={k: str(v) for k, v in (json.loads(extra) if isinstance(extra, str) else extra).items()},
    ).render_as_string(hide_password=False)


class Runtime:
    """The open connections of one task or command. A context manager; thread safe once a client is open. Within it all
    settings are those of the configuration version in force when it was entered."""

    def __init__(self, url: str, source: Source = from_environment, inbox: Any = None) -> None:
        """`inbox`: the folder where files are deposited, any path object (Airflow's ObjectStoragePath, a pathlib.Path);
        the one that the environment names where it is None."""
        self._url = url
        self._source = source
        self._inbox = inbox
        self._entered = ExitStack()

    @cached_property
    def engine(self) -> sa.Engine:
        spare_memory()
        made = database.engine(self._url)
        with faults.typed_errors(), made.connect() as connection:
            ready = sa.inspect(connection).has_table("batch", schema="ops")
        if not ready:
            raise ConfigError(
                "The Crossdock database has no tables yet.", do="Run `crossdock db migrate` once, then this again."
            )
        return made

    @cached_property
    def _channel_advisor_budget(self) -> Budget:
        return Budget("channel_advisor", engine=self.engine)

    def low_priority(self) -> AbstractContextManager[None]:
        """Within this context, requests to Channel Advisor leave a part of each minute's budget to other tasks."""
        return self._channel_advisor_budget.low_priority()

    @cached_property
    def channel_advisor(self) -> ChannelAdvisor:
        client = client_of(
            self._source("channel_advisor"),
            budget=self._channel_advisor_budget,
            breaker=Breaker("channel_advisor", engine=self.engine),
        )
        client.product_ids = self._product_ids
        client.jobs = Jobs(self.engine, "channel_advisor")
        return client

    def _product_ids(self, skus: Sequence[str]) -> dict[str, int]:
        """The ProductIDs of the channel's products, by SKU, of those of these that have been read."""
        product = ref_channel_product.c
        names = sa.bindparam("names", [sku.strip().lower() for sku in skus], type_=sa.ARRAY(sa.Text))
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(product.sku, product.product_id).where(product.folded == sa.any_(names))
            )
            return {row.sku: row.product_id for row in rows}

    @cached_property
    def can(self) -> Abilities:
        """What Channel Advisor's API can do. Asks nothing where the connection names its API."""
        return abilities_of(self._source("channel_advisor")) or self.channel_advisor.can

    @cached_property
    def tims(self) -> Tims:
        return tims_of(
            self._source("tims"),
            engine=self.engine,
            budget=Budget("tims", engine=self.engine),
            breaker=Breaker("tims", engine=self.engine),
        )

    @cached_property
    def inbox(self) -> Inbox:
        """The inbox: files that partners deposit."""
        from crossdock.systems.inbox import Inbox, folder

        return Inbox(folder() if self._inbox is None else self._inbox)

    @cached_property
    def settlement_ledger(self) -> SettlementLedger:
        """Our own verified records, read like a system."""
        from crossdock.systems.settlement_ledger import SettlementLedger

        return SettlementLedger(self.engine)

    def system(self, name: str) -> ChannelAdvisor | Tims | Inbox | SettlementLedger:
        """The client of a system by its name in `Resource.system`."""
        return getattr(self, name)

    def __enter__(self) -> Runtime:
        try:
            self._entered.enter_context(versions.in_force(self.engine))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes everything. An error of the database leaves as a typed error, wherever it was raised."""
        self._entered.close()
        for name in ("channel_advisor", "tims"):
            if name in self.__dict__:
                try:
                    self.__dict__.pop(name).close()
                except Transient as lost:  # the slots that it holds have ended with its session
                    log.info("%s was closed without the database: %s", name, lost)
        self.__dict__.pop("_channel_advisor_budget", None)  # the client has closed it
        if "engine" in self.__dict__:
            self.__dict__.pop("engine").dispose()
        if isinstance(error, faults.RAISED):
            raise faults.typed(error).with_traceback(trace) from None
