"""Makes requests fail on purpose.

In: rules `{id?, path, method?, kind, times?, after?, probability?, seed?, ...}`; `path` is a glob over the request's
path or an operationId. Out: for every request the faults that hit it. Never: a fault that the rules did not ask for.

| kind | what happens | options |
|---|---|---|
| rate_limited | 429 with Retry-After | seconds (1) |
| rate_limited_bare | 429 without Retry-After | |
| error_before | 500, nothing happened | status (500) |
| error_after | the effect happens, the answer is 500 | status (500) |
| bad_gateway_html | 502 with an HTML page | |
| denied_200 | 200 and "Authorization has been denied ..." | shape: error, message, text; none = in turn |
| token_plain_400 | the token endpoint answers 400 in plain text | |
| expire_token | the token of the request dies before it is looked at | |
| slow | the answer waits | seconds (2) |
| cut_body | the connection breaks in the middle of the body | |
| truncated_json | a valid answer whose JSON stops in the middle | |
| repeat_cursor | the next page is the page that was just asked for | |
| shift_rows | after the answer, rows of the list change and move to its end | rows (2) |
| hang_after | the effect happens, then no answer comes | seconds (120) |
| bulk_partial | items of a bulk answer 500 | every (3) or probability, effect (false), status (500; of a `$batch`) |
| web_page | an HTML page where JSON is due | status (200) |
| not_found | 404, as of a path that does not exist | |
| clock_off | the answer's Date is off | minutes (7) |
| grant_expired | the token endpoint does not take the refresh token any more | |
| refused | a write is refused, in a bulk each of its items; nothing happened | status (409), code (INVALID_STATE) |

Of deliveries of events, where `path` is a glob over the event's type (`Order*`, `shipment.created`):

| kind | what happens | options |
|---|---|---|
| event_twice | the event is delivered two times | |
| event_shuffled | it comes after others that happened later | seconds (3): at most so late |
| event_late | it is delivered late | seconds (3600) |
| event_forged | before it comes one that nobody signed who may | |
| event_cut | half of the body arrives, then it is sent again | |
| event_never | it is not delivered | |
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

KINDS = (
    "rate_limited", "rate_limited_bare", "error_before", "error_after", "bad_gateway_html", "denied_200",
    "token_plain_400", "expire_token", "slow", "cut_body", "truncated_json", "repeat_cursor", "shift_rows",
    "hang_after", "bulk_partial", "web_page", "not_found", "clock_off", "grant_expired", "refused",
    "event_twice", "event_shuffled", "event_late", "event_forged", "event_cut", "event_never",
)  # fmt: skip
OF_EVENTS = tuple(kind for kind in KINDS if kind.startswith("event_"))
_OPTIONS = {"id", "path", "method", "kind", "times", "after", "probability", "seed"}
_OWN = {
    "rate_limited": {"seconds"}, "error_before": {"status"}, "error_after": {"status"}, "denied_200": {"shape"},
    "slow": {"seconds"}, "shift_rows": {"rows"}, "hang_after": {"seconds"},
    "bulk_partial": {"every", "effect", "status"}, "web_page": {"status"}, "clock_off": {"minutes"},
    "refused": {"status", "code"}, "event_shuffled": {"seconds"}, "event_late": {"seconds"},
}  # fmt: skip


REFUSED = "Refused on purpose."  # what a refusal says that a fault has made


class BadRule(ValueError):
    """The rule cannot be read; the text says why."""


@dataclass
class Rule:
    id: str
    kind: str
    path: str = "*"
    method: str | None = None
    times: int | None = None  # None: until it is taken away
    after: int = 0  # requests that pass first
    probability: float | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    hits: int = 0
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def meets(self, method: str, path: str, operation: str | None) -> bool:
        if self.method not in (None, "*", method):
            return False
        return self.path == operation or fnmatchcase(path, self.path)

    def strikes(self) -> bool:
        """Whether this request is hit; counts passed and hit ones."""
        if self.times is not None and self.times <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.kind != "bulk_partial" and self.probability is not None and self._dice.random() >= self.probability:
            return False
        self.times = None if self.times is None else self.times - 1
        self.hits += 1
        return True

    def pause(self) -> float:
        """event_late, event_shuffled: seconds by which this event comes later."""
        if self.kind == "event_late":
            return float(self.options.get("seconds", 3600))
        return self._dice.random() * float(self.options.get("seconds", 3)) if self.kind == "event_shuffled" else 0.0

    def breaks(self, index: int) -> bool:
        """bulk_partial: whether this item of the bulk is hit."""
        if self.probability is not None:
            return self._dice.random() < self.probability
        return index % int(self.options.get("every", 3)) == 0

    def shown(self) -> dict[str, Any]:
        sent = {"id": self.id, "kind": self.kind, "path": self.path, "method": self.method, "times": self.times}
        return sent | {"after": self.after, "probability": self.probability, "hits": self.hits} | self.options


def read(sent: Any, number: int) -> Rule:
    """A rule from JSON. BadRule in one sentence when it cannot be read."""
    if not isinstance(sent, dict) or sent.get("kind") not in KINDS:
        raise BadRule(f"A fault needs a kind; one of: {', '.join(KINDS)}.")
    kind = sent["kind"]
    if unknown := sorted(set(sent) - _OPTIONS - _OWN.get(kind, set())):
        raise BadRule(f"A fault of kind {kind} has no option {', '.join(unknown)}.")
    method = sent.get("method")
    return Rule(
        id=str(sent.get("id") or f"fault-{number}"),
        kind=kind,
        path=str(sent.get("path", "*")),
        method=str(method).upper() if method else None,
        times=None if sent.get("times") is None else int(sent["times"]),
        after=int(sent.get("after") or 0),
        probability=None if sent.get("probability") is None else float(sent["probability"]),
        seed=int(sent.get("seed") or 0),
        options={key: sent[key] for key in sent if key in _OWN.get(kind, set())},
    )


@dataclass
class Plan:
    """The faults that hit one request."""

    rules: list[Rule] = field(default_factory=list)

    def get(self, kind: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.kind == kind), None)

    @property
    def refusal(self) -> tuple[int, str] | None:
        """Status and code with which a write is refused."""
        rule = self.get("refused")
        if rule is None:
            return None
        return int(rule.options.get("status", 409)), str(rule.options.get("code", "INVALID_STATE"))

    @property
    def broken_status(self) -> int:
        """Status of a broken part of a `$batch`."""
        rule = self.get("bulk_partial")
        return int(rule.options.get("status", 500)) if rule else 500

    def broken(self, index: int) -> str | None:
        """What happens to item `index` of a bulk: None, "before" (500 without effect) or "after" (500 with effect)."""
        rule = self.get("bulk_partial")
        if rule is None or not rule.breaks(index):
            return None
        return "after" if rule.options.get("effect") else "before"


class Faults:
    """The rules in force. They live in memory: a restart ends them."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, sent: Any) -> Rule:
        with self._lock:
            self._count += 1
            rule = read(sent, self._count)
            self._rules = [r for r in self._rules if r.id != rule.id] + [rule]
            return rule

    def replace(self, sent: list[Any]) -> None:
        with self._lock:
            self._rules = [read(each, number) for number, each in enumerate(sent, self._count + 1)]
            self._count += len(sent)

    def remove(self, id: str | None = None) -> int:
        with self._lock:
            before = len(self._rules)
            self._rules = [r for r in self._rules if id is not None and r.id != id]
            return before - len(self._rules)

    def shown(self) -> list[dict[str, Any]]:
        return [rule.shown() for rule in self._rules]

    def plan(self, method: str, path: str, operation: str | None) -> Plan:
        return self._hit(method, path, operation, of_events=False)

    def plan_event(self, kind: str) -> Plan:
        """The faults that hit the delivery of an event of this type."""
        return self._hit("POST", kind, None, of_events=True)

    def _hit(self, method: str, path: str, operation: str | None, *, of_events: bool) -> Plan:
        if not self._rules:
            return Plan()
        with self._lock:
            rules = [rule for rule in self._rules if (rule.kind in OF_EVENTS) == of_events]
            return Plan([rule for rule in rules if rule.meets(method, path, operation) and rule.strikes()])
