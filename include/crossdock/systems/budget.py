"""Limits the requests to a system, of all processes together.

In: the limits of systems.yaml, and a database to share them through.
Out: a place to send one request from, `with budget.slot():`.
Never: more requests in any minute, or more at once, than the limits say; a database call for every request.

Tokens are leased in blocks that a process must spend within `LEASE_SECONDS`; leases are counted over a minute plus
that time, so no minute holds more requests than the limit, whenever within its lease a token is spent. Places ("at
once") are advisory locks on a connection of their own: a process that is killed frees them with its connection. A
process keeps a place between its requests, but gives it up when idle, and after a turn of a second to those who wait:
where there are any, it holds back for a moment, for they may be looking at another place just then.
Why not pyrate-limiter's bucket: docs/decisions/001-rate-budget.md.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from crossdock.errors import ConfigError, RateLimited, Transient
from crossdock.store import faults, sql
from crossdock.store.tables import ops_rate_lease
from crossdock.systems.failures import NAMES
from crossdock.systems.limits import Limits, load
from crossdock.systems.shared import transaction

LEASE_SECONDS = 2.0
MARGIN_SECONDS = 1.0  # time a request may take to arrive
WINDOW_SECONDS = 60.0 + LEASE_SECONDS + MARGIN_SECONDS
LARGEST_LEASE = 20  # tokens
TURN_SECONDS = 1.0
IDLE_SECONDS = 0.1
WAIT_SECONDS = 0.2  # one wait for a place, before all places are tried again
BULK_LEAST = 0.1  # share of a minute that a bulk gets even while others use all of it
BULK_PACE = 0.1  # share of its part that a bulk may take in as much of a minute
PACE_SECONDS = BULK_PACE * WINDOW_SECONDS
LONGEST_WAIT = 300.0  # for a place or a token, before the caller is told


@dataclass
class Grant:
    """A ledger's answer: tokens, or none and the seconds until the next attempt."""

    tokens: int
    wait: float = 0.0
    at: Any = None  # the ledger's own name for the moment of the lease


class Ledger(Protocol):
    """Counts tokens over the window."""

    def lease(self, want: int, *, low_priority: bool = False, instead_of: Grant | None = None) -> Grant:
        """Leases up to `want` tokens; those of the unspent grant `instead_of` go back in the same moment. With
        `low_priority` only while the window is within the share for bulks, whoever spent it; bulks always get
        `BULK_LEAST`. They take their share in small parts: a share taken at once would come back at once, a window
        later, and block all others until then."""
        ...

    def give_back(self, grant: Grant, tokens: int) -> None:
        """Gives back the unspent tokens of a lease."""

    def pause(self, seconds: float) -> None: ...

    def remaining(self, tokens: int) -> None: ...


class Slots(Protocol):
    """Bounds requests at once."""

    def take(self, until: float) -> int | None:
        """A place, or None when the moment `until` (monotonic) came first."""

    def give(self, slot: int) -> None: ...

    def close(self) -> None: ...


class Budget:
    """Rate and concurrency of one system. Thread safe; with an engine shared by all processes on that database."""

    def __init__(self, system: str, engine: sa.Engine | None = None, *, limits: Limits | None = None) -> None:
        limits = limits or load(system)
        if limits.requests_per_minute < 1 or limits.at_once < 1:
            raise ConfigError(
                f"systems.yaml leaves {system} no requests.", do="Set both limits above 0.", system=system
            )
        if not 0 < limits.bulk_share <= 1:
            raise ConfigError(
                f"bulk_share of {system} in systems.yaml is {limits.bulk_share}.",
                do="Set it above 0 and to at most 1.",
                system=system,
            )
        self.system = system
        self._low_priority = False
        self._ledger: Ledger
        self._slots: Slots
        if engine is None:
            self._ledger = MemoryLedger(limits.requests_per_minute, limits.bulk_share)
            self._slots = MemorySlots(limits.at_once)
        else:
            self._ledger = PostgresLedger(engine, system, limits.requests_per_minute, limits.bulk_share)
            self._slots = PostgresSlots(engine, system, limits.at_once)
        self._lock = threading.Lock()
        self._tokens, self._until, self._block = 0, 0.0, 1
        self._grant = Grant(0)

    @contextmanager
    def slot(self, wait: float = LONGEST_WAIT, *, cost: int = 1) -> Iterator[None]:
        """A place and `cost` tokens for one request: a batch counts as the requests in it, and itself. RateLimited when
        they are not there for `wait` seconds."""
        until = time.monotonic() + wait
        if cost == 1:
            self._spend(until)
        else:
            self._spend_together(cost, until)
        slot = self._slots.take(until)
        if slot is None:
            raise self._exhausted(wait, "at_once")
        try:
            yield
        finally:
            self._slots.give(slot)

    @contextmanager
    def low_priority(self) -> Iterator[None]:
        """Sends requests of the block only while all requests of the minute are within `bulk_share` of the limit, so
        that others get through. Where those alone exceed it, the block still gets `BULK_LEAST`."""
        self._low_priority = True
        try:
            yield
        finally:
            self._low_priority = False

    def paused(self, seconds: float) -> None:
        """Pauses all processes: the system has had too many requests (429)."""
        with self._lock:
            self._tokens = 0
        self._ledger.pause(seconds)

    def remaining(self, tokens: int, limit: int | None = None) -> None:
        """The system says how many requests are left: others use the same account, so never believe in more.

        Looked at only near the end of the minute's budget, for it costs a database call.
        """
        if tokens * 10 < (limit or tokens * 10 + 1) and tokens < self._tokens + LARGEST_LEASE:
            with self._lock:
                self._tokens = min(self._tokens, tokens)
            self._ledger.remaining(tokens)

    def close(self) -> None:
        """Gives back the connection, its places, and the tokens that were not spent."""
        with self._lock:
            self._return_rest()
        self._slots.close()

    def _spend(self, until: float) -> None:
        """Takes one token, leasing a block when there is none."""
        while True:
            with self._lock:
                now = time.monotonic()
                if self._tokens and now < self._until:
                    self._tokens -= 1
                    return
                # A block that was spent in time was too small; one that expired was too large.
                wasted = self._tokens or now >= self._until + LEASE_SECONDS
                self._block = 1 if wasted else min(self._block * 2, LARGEST_LEASE)
                self._return_rest()
                grant = self._ledger.lease(self._block, low_priority=self._low_priority)
                if grant.tokens:
                    self._tokens, self._until, self._grant = grant.tokens - 1, now + LEASE_SECONDS, grant
                    return
            if time.monotonic() + grant.wait > until:
                raise self._exhausted(grant.wait, "requests_per_minute")
            time.sleep(grant.wait)

    def _spend_together(self, cost: int, until: float) -> None:
        """Takes `cost` tokens at once. What is there meanwhile is leased anew with each look, so that all of them are
        counted from one moment: that of the request."""
        held = Grant(0)
        while True:
            with self._lock:
                self._return_rest()
                held = self._ledger.lease(cost, low_priority=self._low_priority, instead_of=held)
            if held.tokens == cost:
                return
            wait = held.wait or WAIT_SECONDS
            if time.monotonic() + wait > until:
                self._ledger.give_back(held, held.tokens)
                raise self._exhausted(wait, "requests_per_minute")
            time.sleep(wait)

    def _return_rest(self) -> None:
        """Gives back what is left of a lease, so that others may spend it."""
        if self._tokens:
            tokens, self._tokens = self._tokens, 0
            self._ledger.give_back(self._grant, tokens)

    def _exhausted(self, wait: float, limit: str) -> RateLimited:
        return RateLimited(
            f"The request budget of {NAMES.get(self.system, self.system)} is used up for {wait:.0f} s.",
            retry_after=wait,
            do=f"Nothing to do if it passes; {limit} in systems.yaml sets the budget.",
            system=self.system,
        )


class MemoryLedger:
    """The window of one process."""

    def __init__(self, limit: int, bulk_share: float = 1.0) -> None:
        self._limit, self._bulk_limit, self._bulk_least = limit, _part(limit, bulk_share), _part(limit, BULK_LEAST)
        self._bulk_burst = _part(self._bulk_limit, BULK_PACE)
        self._leases, self._paused, self._lock = deque[tuple[float, int, bool]](), 0.0, threading.Lock()

    def lease(self, want: int, *, low_priority: bool = False, instead_of: Grant | None = None) -> Grant:
        with self._lock:
            now = time.monotonic()
            if instead_of and instead_of.tokens:
                self._leases = deque(lease for lease in self._leases if lease[0] != instead_of.at)
            if now < self._paused:
                return Grant(0, self._paused - now)
            self._forget(now)
            used = sum(tokens for _, tokens, _ in self._leases)
            room = self._limit - used
            if low_priority:
                by_bulks = sum(tokens for _, tokens, by_low_priority in self._leases if by_low_priority)
                just_now = sum(
                    n for at, n, by_low_priority in self._leases if by_low_priority and at > now - PACE_SECONDS
                )
                left = max(self._bulk_limit - used, self._bulk_least - by_bulks)
                room = min(room, left, self._bulk_burst - just_now)
            if room < 1:
                return Grant(0, _wait(self._leases[0][0] + WINDOW_SECONDS - now, low_priority))
            self._leases.append((now, min(want, room), low_priority))
            return Grant(min(want, room), at=now)

    def give_back(self, grant: Grant, tokens: int) -> None:
        with self._lock:
            self._leases = deque(
                (at, n - tokens if at == grant.at else n, low_priority) for at, n, low_priority in self._leases
            )

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._paused = max(self._paused, time.monotonic() + seconds)

    def remaining(self, tokens: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._forget(now)
            unknown = self._limit - sum(used for _, used, _ in self._leases) - tokens
            if unknown > 0:
                self._leases.append((now, unknown, False))

    def _forget(self, now: float) -> None:
        while self._leases and self._leases[0][0] <= now - WINDOW_SECONDS:
            self._leases.popleft()


class MemorySlots:
    """The places of one process."""

    def __init__(self, at_once: int) -> None:
        self._slots = threading.Semaphore(at_once)

    def take(self, until: float) -> int | None:
        return 0 if self._slots.acquire(timeout=max(until - time.monotonic(), 0)) else None

    def give(self, slot: int) -> None:
        self._slots.release()

    def close(self) -> None:
        pass


_LEASE = sql.statement(__package__, "budget_lease")
_FULL = sql.statement(__package__, "budget_wait")
_REMAINING = sql.statement(__package__, "budget_remaining")
_lease = ops_rate_lease.c
_NOW = sa.func.clock_timestamp()


class PostgresLedger:
    """The window of all processes: ops.rate_lease(system, at, tokens). A row of 0 tokens in the future is a pause."""

    def __init__(self, engine: sa.Engine, system: str, limit: int, bulk_share: float = 1.0) -> None:
        self._engine = engine
        self._is_own = _lease.system == system
        self._values = {
            "system": system,
            "most": limit,
            "bulk_limit": _part(limit, bulk_share),
            "bulk_least": _part(limit, BULK_LEAST),
            "bulk_burst": _part(_part(limit, bulk_share), BULK_PACE),
            "pace": PACE_SECONDS,
            "span": WINDOW_SECONDS,
            "key": _key(system),
        }
        self._forgotten = 0.0

    def lease(self, want: int, *, low_priority: bool = False, instead_of: Grant | None = None) -> Grant:
        wanted = self._values | {"want": want, "bulk": low_priority}
        end_of_pause = sa.func.extract("epoch", sa.func.max(_lease.at) - _NOW)
        paused_for = sa.select(end_of_pause).where(self._is_own, _lease.tokens == 0, _lease.at > _NOW)
        with self._locked() as database:
            if time.monotonic() > self._forgotten + WINDOW_SECONDS:
                over = _lease.at < _NOW - timedelta(seconds=WINDOW_SECONDS)
                database.execute(sa.delete(ops_rate_lease).where(self._is_own, over))
                self._forgotten = time.monotonic()
            if instead_of and instead_of.tokens:
                database.execute(sa.delete(ops_rate_lease).where(self._is_own, _lease.at == instead_of.at))
            granted = database.execute(_LEASE, wanted).first()
            if granted:
                return Grant(int(granted.tokens), at=granted.at)
            paused = database.execute(paused_for).scalar()
            wait = paused if paused is not None else database.execute(_FULL, wanted).scalar()
        return Grant(0, _wait(float(wait or 0), low_priority and paused is None))

    def give_back(self, grant: Grant, tokens: int) -> None:
        statement = (
            sa.update(ops_rate_lease)
            .where(self._is_own, _lease.at == grant.at, _lease.tokens >= tokens)
            .values(tokens=_lease.tokens - tokens)
        )
        with transaction(self._engine) as database:
            database.execute(statement)

    def pause(self, seconds: float) -> None:
        until = _NOW + timedelta(seconds=seconds)
        with self._locked() as database:
            database.execute(sa.insert(ops_rate_lease).values(system=self._values["system"], at=until, tokens=0))

    def remaining(self, tokens: int) -> None:
        with self._locked() as database:
            database.execute(_REMAINING, self._values | {"stated": tokens})

    @contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        """One short transaction, alone on this system's window."""
        with transaction(self._engine) as database:
            # A statement of its own: the next must see what was committed while this one waited for the lock.
            database.execute(sa.select(sa.func.pg_advisory_xact_lock(self._values["key"], -1)))
            yield database


_key_of_slots, _slot = sa.bindparam("key", type_=sa.Integer), sa.bindparam("slot", type_=sa.Integer)
_free = sa.func.unnest(sa.cast(sa.bindparam("free"), sa.ARRAY(sa.Integer))).column_valued("free")
_TRY = sa.select(_free).where(sa.func.pg_try_advisory_lock(_key_of_slots, _free)).limit(1)
_WAIT = sa.select(sa.func.pg_advisory_lock(_key_of_slots, _slot))
_GIVE = sa.select(sa.func.pg_advisory_unlock(_key_of_slots, _slot))
# Who waits for a place holds this lock together with all who wait.
_WAITING = sa.select(sa.func.pg_advisory_lock_shared(_key_of_slots, -2))
_WAITING_NO_MORE = sa.select(sa.func.pg_advisory_unlock_shared(_key_of_slots, -2))
_NOBODY_WAITS = sa.select(
    sa.case(
        (sa.func.pg_try_advisory_lock(_key_of_slots, -2), sa.func.pg_advisory_unlock(_key_of_slots, -2)), else_=False
    )
)
_SETTINGS = sa.select(
    sa.func.set_config("lock_timeout", str(int(WAIT_SECONDS * 1000)), False),
    sa.func.set_config("application_name", "crossdock-budget", False),
)
_LOCK_TIMEOUT = "55P03"
_abandoned: list[sa.Connection | None] = []  # kept from the garbage collector, which would close them


class LockTimeout(Exception):
    """Inside this module: the place was not free in time."""


class PostgresSlots:
    """Places 0..n-1 as session advisory locks on one connection of their own."""

    def __init__(self, engine: sa.Engine, system: str, at_once: int) -> None:
        self._engine, self._system, self._all, self._key = engine, system, range(at_once), _key(system)
        self._process = os.getpid()
        self._on_connection = threading.Lock()  # one statement at a time; never taken while _changed is held
        self._changed = threading.Condition()
        self._database: sa.Connection | None = None
        self._since: dict[int, float] = {}  # places this process holds, and since when
        self._spare: dict[int, float] = {}  # those of them that no thread uses, and since when
        self._reaper: threading.Thread | None = None

    def take(self, until: float) -> int | None:
        self._after_fork()
        while time.monotonic() < until:
            slot = self._spare_slot()
            if slot is None:
                slot = self._lock_slot(until)
            if slot is not None:
                return slot
        return None

    def give(self, slot: int) -> None:
        with self._changed:
            if slot in self._since:
                self._spare[slot] = time.monotonic()
                self._changed.notify()
                if self._reaper is None:
                    self._reaper = threading.Thread(target=self._reap, name=f"places-{self._system}", daemon=True)
                    self._reaper.start()

    def close(self) -> None:
        self._after_fork()
        with self._on_connection:
            self._disconnect()

    def _after_fork(self) -> None:
        """Drops the parent's connection in a forked child without closing it; the child opens its own."""
        if self._process != os.getpid():
            _abandoned.append(self._database)
            self.__init__(self._engine, self._system, len(self._all))  # type: ignore[misc]

    def _spare_slot(self) -> int | None:
        """A place this process holds already; one whose turn is over goes back to the others first."""
        with self._changed:
            if not self._spare:
                return None
            slot, _ = self._spare.popitem()
            if time.monotonic() - self._since[slot] < TURN_SECONDS:
                return slot
        self._unlock([slot])
        if self._somebody_waits():  # the waiting process may be at another place now: it tries this one within one wait
            time.sleep(WAIT_SECONDS)
        return None

    def _somebody_waits(self) -> bool:
        with self._on_connection:
            return not self._execute(_NOBODY_WAITS)

    def _lock_slot(self, until: float) -> int | None:
        """A place from the database, waiting a moment for one; another thread may give one meanwhile."""
        if not self._on_connection.acquire(blocking=False):
            with self._changed:
                self._changed.wait_for(lambda: self._spare, timeout=min(WAIT_SECONDS, max(until - time.monotonic(), 0)))
            return None
        try:
            free = [slot for slot in self._all if slot not in self._since]
            slot = self._execute(_TRY, free=free) if free else None
            if slot is None and free:
                slot = self._wait(free[int(time.monotonic() * 1000) % len(free)])
            if slot is not None:
                self._since[int(slot)] = time.monotonic()
                return int(slot)
        finally:
            self._on_connection.release()
        with self._changed:
            if not free and not self._spare:
                self._changed.wait(timeout=min(WAIT_SECONDS, max(until - time.monotonic(), 0)))
        return None

    def _wait(self, slot: int) -> int | None:
        """Queues for one place: the database hands it over in order, so no process is starved."""
        try:
            self._execute(_WAITING)
            self._execute(_WAIT, slot=slot)
        except LockTimeout:
            return None
        finally:
            self._execute(_WAITING_NO_MORE)
        return slot

    def _unlock(self, slots: list[int]) -> None:
        with self._on_connection:
            for slot in slots:
                if self._since.pop(slot, None) is not None and self._database is not None:
                    self._execute(_GIVE, slot=slot)

    def _reap(self) -> None:
        """Gives idle places back to the other processes; ends when none is left."""
        while True:
            time.sleep(IDLE_SECONDS)
            with self._changed:
                if not self._since or self._process != os.getpid():
                    self._reaper = None
                    return
                now = time.monotonic()
                gone = [slot for slot, since in self._spare.items() if now - since >= IDLE_SECONDS]
                for slot in gone:
                    del self._spare[slot]
            with suppress(Transient):  # a lost connection has freed them
                self._unlock(gone)

    def _execute(self, statement: sa.Executable, **values: object) -> Any:
        """One statement on the places' connection, which is opened anew once when it was lost."""
        for last in (False, True):
            try:
                return self._connect().execute(statement, {"key": self._key, **values}).scalar()
            except faults.RAISED as error:
                if faults.state(error) == _LOCK_TIMEOUT:
                    raise LockTimeout from None
                self._disconnect()
                if last:
                    raise faults.typed(error) from None
        return None

    def _connect(self) -> sa.Connection:
        if self._database is None:
            database = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            database.detach()  # its locks live as long as it does, so it never returns to the pool
            database.execute(_SETTINGS)
            self._database = database
        return self._database

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        with self._changed:
            self._since.clear()
            self._spare.clear()
        if database is not None:
            database.close()


def _wait(seconds: float, low_priority: bool) -> float:
    """Until it is worth while to ask again: the oldest lease ends in so long, a bulk may have its next bit before."""
    return max(min(seconds, PACE_SECONDS / 10) if low_priority else seconds, 0.01)


def _part(limit: int, share: float) -> int:
    return max(int(limit * share), 1)


def _key(system: str) -> int:
    """The first half of the advisory locks' key: a signed 32 bit number, the same in every process."""
    return zlib.crc32(f"crossdock.{system}".encode()) - 2**31
