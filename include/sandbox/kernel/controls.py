"""`/_sandbox/...`: what a person or a test does to the sandbox; no part of a contract, for this machine only.

| call | does |
|---|---|
| GET clock; PUT clock {"now": "2011-01-04T10:00:00Z"} or {"advance": 3600} | reads the clock, leaps, lets time pass |
| GET, PUT {"rules": [...]}, POST {...}, DELETE faults; DELETE faults/{id} | see `faults` |
| POST apply {"events": [...]} | takes in documents of the world, all or none |
| POST act {"operations": [...]} | does what people do at the system's own screens; a result for each |
| POST reset | empties the store, the counts and the faults; the clock goes back to real time |
| GET counts | documents by kind |
| POST documents {"kind": "order", "where": {"OrderStatus": ["Open"]}} | whole documents, oldest change first |
| GET, DELETE requests | requests by method and path template since the last reset |
| POST expire-tokens | every access token dies |
| GET, PUT webhooks {"first_pause_seconds": 1} | reads and sets how events are delivered (`webhooks.Settings`) |
| GET health | 200 when it serves |
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from sandbox.kernel.clock import Clock, parse, text
from sandbox.kernel.faults import BadRule
from sandbox.kernel.http import Answer, Incoming, Refusal
from sandbox.kernel.store import decode
from sandbox.kernel.system import System

Thread = Callable[..., Awaitable[Any]]
_MOST = 1 << 30


class Controls:
    """Answers the calls below `/_sandbox/`."""

    def __init__(self, system: System, requests: dict[str, int], thread: Thread) -> None:
        """`requests`: counted by the app; `thread`: how it runs what blocks."""
        self._system, self._requests, self._thread = system, requests, thread
        self._calls: dict[str, Callable[[Any], Any]] = {
            "GET health": lambda _: {"system": self._system.name, "now": text(self._system.clock.now())},
            "GET clock": lambda _: {"now": text(self._system.clock.now())},
            "PUT clock": self._set_clock,
            "GET faults": lambda _: {"rules": self._system.faults.shown()},
            "PUT faults": self._replace_faults,
            "POST faults": lambda sent: self._system.faults.add(sent).shown(),
            "DELETE faults": lambda _: {"removed": self._system.faults.remove()},
            "POST apply": self._apply,
            "POST act": lambda sent: {"results": self._system.act(sent["operations"])},
            "POST reset": self._reset,
            "GET counts": self._counts,
            "POST documents": self._documents,
            "GET requests": lambda _: dict(sorted(self._requests.items())),
            "DELETE requests": self._forget_requests,
            "POST expire-tokens": lambda _: {"expired": self._system.tokens.expire()},
            "GET webhooks": lambda _: self._system.webhooks.shown(),
            "PUT webhooks": lambda sent: self._system.webhooks.set(sent),
            **system.controls(),
        }

    async def answer(self, incoming: Incoming) -> Answer:
        if not _is_loopback(incoming.client_host):
            return Answer(403, {"error": "The controls of the sandbox answer this machine only."})
        path = incoming.raw_path.removeprefix("/_sandbox/")
        call = self._calls.get(f"{incoming.method} {path}")
        if call is None and incoming.method == "DELETE" and path.startswith("faults/"):
            return Answer(200, {"removed": self._system.faults.remove(path.removeprefix("faults/"))})
        if call is None:
            valid = ", ".join(self._calls)
            return Answer(404, {"error": f"There is no control {incoming.method} {path}. Known: {valid}."})
        try:
            body = await incoming.body(_MOST)
            sent = decode(body) if body.strip() else None
            return Answer(200, await self._thread(call, sent))
        except (BadRule, ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
            return Answer(422, {"error": str(error) if not isinstance(error, KeyError) else f"{error} is missing."})
        except Refusal as refusal:
            return Answer(422, {"error": refusal.message})

    def _set_clock(self, sent: dict[str, Any]) -> dict[str, str]:
        if "now" in sent:
            self._system.clock.set(parse(sent["now"]))
        elif "advance" in sent:
            self._system.clock.advance(float(sent["advance"]))
        else:
            raise ValueError('Say {"now": "2011-01-04T10:00:00Z"} or {"advance": 3600}.')
        self._system.moved()
        self._system.webhooks.moved()
        return {"now": text(self._system.clock.now())}

    def _replace_faults(self, sent: dict[str, Any]) -> dict[str, Any]:
        self._system.faults.replace(sent["rules"])
        return {"rules": self._system.faults.shown()}

    def _apply(self, sent: dict[str, Any]) -> dict[str, int]:
        """All events in one transaction; the first that cannot be taken undoes them all."""
        events = [event for event in sent["events"] if event.get("system", self._system.name) == self._system.name]
        with self._system.store.write() as tx:
            for number, event in enumerate(events):
                try:
                    at = parse(event["at"]) if "at" in event else self._system.clock.now()
                    self._system.apply(tx, event, at)
                except (ValueError, KeyError, TypeError) as error:
                    kind = event.get("kind") if isinstance(event, dict) else "?"
                    why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                    raise ValueError(f"Event {number} ({kind}) cannot be applied: {why}") from error
        self._system.moved()
        return {"applied": len(events)}

    def _counts(self, _: Any) -> dict[str, int]:
        with self._system.store.read() as tx:
            return tx.counts()

    def _documents(self, sent: dict[str, Any]) -> dict[str, Any]:
        since = parse(sent["since"]) if sent.get("since") else None
        with self._system.store.read() as tx:
            rows = tx.page(sent["kind"], limit=-1, since=since, where=sent.get("where"))
            valid = tx.term_names(sent["kind"]) if sent.get("where") and not rows else set()
            if valid and (strange := sorted(set(sent["where"]) - valid)):
                raise ValueError(
                    f"No {sent['kind']} is found by {', '.join(strange)}; known: {', '.join(sorted(valid))}."
                )
            return {"documents": [row.doc for row in rows]}

    def _forget_requests(self, _: Any) -> dict[str, Any]:
        self._requests.clear()
        return {}

    def _reset(self, _: Any) -> dict[str, str]:
        system = self._system
        with system.store.write() as tx:
            tx.clear()
        system.clock = Clock(system.store)
        self._requests.clear()
        system.tokens = system.logins()
        system.faults.remove()
        system.limiter.clear()
        system.webhooks.forget()
        system.forget()
        return {"now": text(system.clock.now())}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "testclient", "localhost")
