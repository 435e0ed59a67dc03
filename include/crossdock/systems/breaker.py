"""Sends no requests to a system that is down, except one trial after a pause.

In: the outcome of every attempt. Out: `CircuitOpen` at once while the circuit is open; one trial after the pause.
Never: a lock held during a request, a database call for a request that goes well, a count for 429 or for a refusal.

State is shared by all processes in ops.circuit, in memory where no database is given:
closed --failures in a row--> open --pause over, one process claims the trial--> half_open --> closed or open again.
Why not pybreaker: docs/decisions/002-circuit-breaker.md.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import sqlalchemy as sa

from crossdock.errors import CircuitOpen
from crossdock.store import sql
from crossdock.store.tables import ops_circuit
from crossdock.systems.failures import NAMES
from crossdock.systems.limits import Limits, load
from crossdock.systems.shared import transaction

REFRESH_SECONDS = 1.0  # how old this process's view of the shared state may be


@dataclass
class State:
    """One circuit: name of the state, failures in a row, seconds since it opened or its trial began."""

    state: str = "closed"  # "closed", "open", "half_open"
    failures: int = 0
    age: float = 0.0


class Store(Protocol):
    """Holds the state. Every method is one atomic step."""

    def read(self) -> State: ...

    def failed(self, most: int) -> State:
        """Counts a failure; opens the circuit at `most`, or when the trial failed."""

    def closed(self) -> None:
        """Closes the circuit: the system answered."""

    def take_probe(self, pause: float) -> bool:
        """True for the one caller that may try, once the pause is over; an abandoned trial is claimed anew."""


class MemoryStore:
    """Holds the state of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state, self._failures, self._since = "closed", 0, 0.0

    def read(self) -> State:
        with self._lock:
            return State(self._state, self._failures, time.monotonic() - self._since)

    def failed(self, most: int) -> State:
        with self._lock:
            self._failures += 1
            if self._state == "half_open" or (self._state == "closed" and self._failures >= most):
                self._state, self._since = "open", time.monotonic()
            return State(self._state, self._failures, time.monotonic() - self._since)

    def closed(self) -> None:
        with self._lock:
            self._state, self._failures = "closed", 0

    def take_probe(self, pause: float) -> bool:
        with self._lock:
            if self._state == "closed" or time.monotonic() - self._since < pause:
                return False
            self._state, self._since = "half_open", time.monotonic()
            return True


_NOW = sa.func.clock_timestamp()
_FAILED = sql.statement(__package__, "circuit_failed")


class PostgresStore:
    """One row of ops.circuit a system. `updated_at` is when it opened or its trial began; `opened_at` is for people."""

    def __init__(self, engine: sa.Engine, system: str) -> None:
        self._engine, self._system = engine, system
        self._is_own = ops_circuit.c.system == system
        self._is_not_closed = ops_circuit.c.state != "closed"

    def read(self) -> State:
        age = sa.func.extract("epoch", _NOW - ops_circuit.c.updated_at)
        return self._state(sa.select(ops_circuit.c.state, ops_circuit.c.failures, age).where(self._is_own))

    def failed(self, most: int) -> State:
        return self._state(_FAILED, system=self._system, most=most)

    def closed(self) -> None:
        statement = (
            sa.update(ops_circuit)
            .where(self._is_own, sa.or_(self._is_not_closed, ops_circuit.c.failures > 0))
            .values(state="closed", failures=0, opened_at=None, updated_at=_NOW)
        )
        with transaction(self._engine) as connection:
            connection.execute(statement)

    def take_probe(self, pause: float) -> bool:
        statement = (
            sa.update(ops_circuit)
            .where(self._is_own, self._is_not_closed, ops_circuit.c.updated_at <= _NOW - timedelta(seconds=pause))
            .values(state="half_open", updated_at=_NOW)
        )
        with transaction(self._engine) as connection:
            return bool(connection.execute(statement).rowcount)

    def _state(self, statement: sa.Executable, **values: object) -> State:
        with transaction(self._engine) as connection:
            row = connection.execute(statement, values).first()
        return State(row[0], row[1], float(row[2])) if row else State()


class Breaker:
    """The circuit of one system, shared by the threads of a process and, with an engine, by all processes."""

    def __init__(self, system: str, engine: sa.Engine | None = None, *, limits: Limits | None = None) -> None:
        limits = limits or load(system)
        self.system = system
        self._most, self._pause = limits.failures_to_open, limits.open_seconds
        self._store: Store = PostgresStore(engine, system) if engine is not None else MemoryStore()
        self._lock = threading.Lock()
        self._seen, self._seen_at = State(), float("-inf")

    def before(self) -> None:
        """Checks the circuit before an attempt. Raises CircuitOpen(retry_after) while it is open."""
        state = self._view()
        if state.state == "closed" or self._take_probe(state):
            return
        wait = max(self._pause - state.age, REFRESH_SECONDS)
        raise CircuitOpen(
            f"{NAMES.get(self.system, self.system)} failed {state.failures} times in a row: left alone {wait:.0f} s.",
            retry_after=wait,
            do="Its flows go on by themselves once it answers; ask its operator if it stays down.",
            system=self.system,
        )

    def succeeded(self) -> None:
        """Notes that the system answered, also with a refusal of the record."""
        if self._seen.failures or self._seen.state != "closed":
            self._store.closed()
            self._remember(State())

    def failed(self) -> None:
        """Notes that the system failed, or could not be reached."""
        self._remember(self._store.failed(self._most))

    def _take_probe(self, state: State) -> bool:
        if state.age < self._pause or not self._store.take_probe(self._pause):
            return False
        self._remember(State("half_open", state.failures))
        return True

    def _view(self) -> State:
        """The shared state, read anew once a second; its age grows in between."""
        age = time.monotonic() - self._seen_at
        if age >= REFRESH_SECONDS:
            return self._remember(self._store.read())
        return State(self._seen.state, self._seen.failures, self._seen.age + age)

    def _remember(self, state: State) -> State:
        with self._lock:
            self._seen, self._seen_at = state, time.monotonic()
        return state
