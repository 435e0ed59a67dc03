"""Sends subscribers the events of a system: stored with the change that raises them, delivered by a thread of its own.

In: changes of documents, subscriptions. Out: signed POSTs, at least once and in no order. Never: a delivery to another
machine, unless the control `PUT webhooks {"anywhere": true}` allows it.

A delivery is stored until a 2xx comes within 5 s; anything else, a redirect too, is tried again after pauses that
double from 1 minute to 1 hour, for 24 hours of passed time (`Clock.advance` lets it pass). Timestamps of attempts are
those of the real clock, for that is what a receiver compares them with; the world's clock is in the body.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from sandbox.kernel.clock import DAY, SECOND, Clock
from sandbox.kernel.faults import Faults
from sandbox.kernel.store import Change, Id, Notice, Row, Store, Transaction, decode, encode

BATCH = 64  # deliveries in memory
AT_ONCE = 16
ANSWER_SECONDS = 5.0
FORGER = "whoever signs with this may not"
log = logging.getLogger("sandbox")


@dataclass(frozen=True)
class Event:
    """What a change means to a subscriber. `path`: of the resource, below the server's address."""

    type: str
    resource: str
    path: str
    at: str
    profile: int | None = None


@dataclass(frozen=True)
class Subscriber:
    """Who wants which events. `base`: the address by which it knows the server."""

    id: Id
    url: str
    types: frozenset[str]
    secret: str = field(repr=False)
    base: str
    profiles: frozenset[int] = frozenset()  # of a system that has some
    is_enabled: bool = True

    def wants(self, event: Event) -> bool:
        return self.is_enabled and event.type in self.types and event.profile in (None, *self.profiles)


class Events(Protocol):
    """What one system says of its events."""

    subscription: str  # kind of the documents that are its subscriptions; beside each: see `kept`
    kinds: frozenset[str]  # of the documents whose changes raise events

    def event(self, change: Change) -> Event | None:
        """The event that a change raises, if any."""

    def subscriber(self, row: Row) -> Subscriber: ...

    def new_id(self) -> str:
        """An event id that was not given before, not even before the store was emptied."""

    def body(self, id: str, event: Event, base: str) -> dict[str, Any]: ...

    def headers(self, id: str, event: Event, timestamp: str, signature: str) -> dict[str, str]: ...

    def suspended(self, subscription: dict[str, Any], at: int) -> dict[str, Any] | None:
        """The subscription after 24 hours of nothing but failures; None where the system goes on."""


def kept(secret: str, base: str, profiles: Sequence[int] = ()) -> dict[str, Any]:
    """What is stored beside a subscription and shown to nobody."""
    return {"Secret": secret, "Base": base, "Profiles": list(profiles)}


def subscriber(row: Row, url: str, types: Sequence[str], *, is_enabled: bool = True) -> Subscriber:
    """A stored subscription, with what is `kept` beside it."""
    extra = row.extra
    profiles = frozenset(extra["Profiles"])
    return Subscriber(row.id, url, frozenset(types), extra["Secret"], extra["Base"], profiles, is_enabled)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC over timestamp, dot and raw body, as both contracts have it."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_this_machine(url: str) -> bool:
    """Whether a URL leads to this machine by its address, not by a name that might lead elsewhere later."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class Settings:
    """What the control `webhooks` sets."""

    anywhere: bool = False  # deliver to other machines too
    first_pause_seconds: float = 60.0
    longest_pause_seconds: float = 3600.0

    def pause(self, attempts: int) -> int:
        """Ticks after the attempt with this number, from 0."""
        seconds = min(self.first_pause_seconds * 2 ** min(attempts, 30), self.longest_pause_seconds)
        return int(seconds * SECOND)


class System(Protocol):
    """Of whom the events are. Its clock is made anew when its store is emptied."""

    store: Store
    clock: Clock
    faults: Faults


class Webhooks:
    """The events of one system on their way. Thread safe; a watcher of the system's store."""

    def __init__(self, system: System, events: Events) -> None:
        self._system, self._events = system, events
        self.settings = Settings()
        self.counts: Counter[str] = Counter()
        self._with_subscriptions = frozenset((events.subscription,))
        self._watched = self._with_subscriptions
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        system.store.watcher = self
        with system.store.read() as tx:
            self._follow(self._subscribers(tx))
        self.committed()

    # ---- what the store asks ----
    def kinds(self) -> frozenset[str]:
        return self._watched

    def record(self, tx: Transaction, changes: Sequence[Change]) -> None:
        """Stores the events that these changes raise: one for each document, however often it was written."""
        subscribers = self._subscribers(tx)
        self._follow(subscribers)
        by_document: dict[tuple[str, Id], Change] = {}
        for change in changes:
            first = by_document.get((change.kind, change.id), change)
            by_document[change.kind, change.id] = Change(change.kind, change.id, first.before, change.after)
        now = self._system.clock.passed()
        for change in by_document.values():
            event = None if change.kind not in self._events.kinds else self._events.event(change)
            wanting = [each for each in subscribers if event and each.wants(event)]
            if event is None or not wanting:
                continue
            plan = self._system.faults.plan_event(event.type)
            self.counts["raised"] += 1
            if plan.get("event_never"):
                self.counts["never"] += 1
                continue
            due = now + int(sum(rule.pause() for rule in plan.rules) * SECOND)
            stored = encode({"id": self._events.new_id(), "event": event, "faults": [rule.kind for rule in plan.rules]})
            tx.add_notices((each.id, stored, due, due + DAY) for each in wanting)

    def committed(self) -> None:
        if self._watched == self._with_subscriptions:
            return
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
            self._thread.start()
        self._woken.set()

    def _subscribers(self, tx: Transaction) -> list[Subscriber]:
        return [self._events.subscriber(row) for row in tx.page(self._events.subscription, limit=-1)]

    def _follow(self, subscribers: Sequence[Subscriber]) -> None:
        """Where nobody has subscribed, changes cost nothing."""
        self._watched = self._with_subscriptions | (self._events.kinds if subscribers else frozenset())

    # ---- what the system asks ----
    def moved(self) -> None:
        """The clock was moved: something may be due."""
        self._woken.set()

    def forget(self) -> None:
        """The store was emptied."""
        self._watched = self._with_subscriptions
        self.counts.clear()

    def shown(self) -> dict[str, Any]:
        with self._system.store.read() as tx:
            return {**vars(self.settings), "waiting": tx.waiting_notices(), **dict(sorted(self.counts.items()))}

    def set(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Changes settings. ValueError for one that does not exist."""
        settings = vars(self.settings)
        if unknown := sorted(set(sent) - set(settings)):
            raise ValueError(f"There is no setting {', '.join(unknown)}; known: {', '.join(settings)}.")
        self.settings = Settings(**settings | {name: type(settings[name])(value) for name, value in sent.items()})
        self.moved()
        return self.shown()

    def close(self) -> None:
        """Stops the thread; what waits is delivered after the next start."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(ANSWER_SECONDS)

    # ---- the thread ----
    def _run(self) -> None:
        with asyncio.Runner() as runner:
            client = httpx.AsyncClient(
                timeout=ANSWER_SECONDS, trust_env=False, limits=httpx.Limits(max_connections=AT_ONCE)
            )
            while not self._stopping:
                self._woken.clear()
                try:
                    if not runner.run(self._round(client)):
                        self._woken.wait(self._rest())
                except Exception:
                    if not self._stopping:  # the store is closed behind it
                        log.exception("Events were not delivered; they are tried again.")
                        self._woken.wait(1)
            runner.run(client.aclose())

    def _rest(self) -> float | None:
        """Seconds until the next delivery is due; None: nothing waits."""
        with self._system.store.read() as tx:
            due = tx.next_due()
        return None if due is None else max(0.0, (due - self._system.clock.passed()) / SECOND)

    async def _round(self, client: httpx.AsyncClient) -> bool:
        """Tries what is due, at most a batch of it. Whether there was anything."""
        with self._system.store.read() as tx:
            due = tx.due_notices(self._system.clock.passed(), BATCH)
            subscribers = {each.id: each for each in self._subscribers(tx)} if due else {}
        if not due:
            return False
        free = asyncio.Semaphore(AT_ONCE)

        async def attempt(notice: Notice) -> bool:
            async with free:
                to = subscribers.get(notice.subscription)
                return to is not None and await self._attempt(client, to, notice)

        tasks = [asyncio.create_task(attempt(notice)) for notice in due]
        waiting = set(tasks)
        while waiting and not self._stopping:
            _, waiting = await asyncio.wait(waiting, timeout=0.25)
        for task in waiting:
            task.cancel()
        done = [(notice, task.result()) for notice, task in zip(due, tasks, strict=True) if task not in waiting]
        with self._system.store.write() as tx:
            for notice, is_taken in done:
                self._note(tx, notice, is_taken)
        return True

    def _note(self, tx: Transaction, notice: Notice, is_taken: bool) -> None:
        """What became of an attempt."""
        now = self._system.clock.passed()
        row = tx.get(self._events.subscription, notice.subscription)
        self.counts["taken" if is_taken else "failed"] += 1
        if is_taken or row is None:
            tx.remove_notice(notice.number)
        elif (due := now + self.settings.pause(notice.attempts)) > notice.until:
            self.counts["dropped"] += 1
            tx.remove_notice(notice.number)
        else:
            tx.postpone_notice(notice.number, due)
        if row is None:
            return
        since = None if is_taken else row.extra.get("FailingSince", now)
        if since != row.extra.get("FailingSince"):
            extra = {name: value for name, value in row.extra.items() if name != "FailingSince"}
            more = {} if since is None else {"FailingSince": since}
            tx.put(row.kind, row.id, row.doc, modified=row.modified, extra=extra | more)
        elif since is not None and now - since >= DAY:
            at = self._system.clock.now()
            suspended = self._events.suspended(row.doc, at)
            if suspended is not None:
                tx.put(row.kind, row.id, suspended, modified=at, extra=row.extra)
                self.counts["dropped"] += tx.remove_notices_of(row.id)

    async def _attempt(self, client: httpx.AsyncClient, to: Subscriber, notice: Notice) -> bool:
        """Whether the subscriber has taken it. Faults hit the first attempt only."""
        stored = decode(notice.event)
        id, event = stored["id"], Event(**stored["event"])
        faults = stored["faults"] if notice.attempts == 0 else []
        if not (self.settings.anywhere or is_this_machine(to.url)):
            return False
        if "event_forged" in faults:
            await self._post(client, to, self._events.new_id(), event, secret=FORGER)
        if "event_twice" in faults:
            await self._post(client, to, id, event)
        return await self._post(client, to, id, event, is_whole="event_cut" not in faults)

    async def _post(
        self,
        client: httpx.AsyncClient,
        to: Subscriber,
        id: str,
        event: Event,
        *,
        secret: str = "",
        is_whole: bool = True,
    ) -> bool:
        body = encode(self._events.body(id, event, to.base))
        timestamp = str(int(time.time()))
        headers = self._events.headers(id, event, timestamp, signature(secret or to.secret, timestamp, body))
        headers["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await client.post(
                    to.url, content=body if is_whole else body[: len(body) // 2], headers=headers
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            self.counts["unanswered"] += 1
            return False
        self.counts[f"answered {answer.status_code}"] += 1
        return answer.is_success
