"""The errors of the library. The type decides what happens next; the text tells a person what to do.

In: what went wrong. Out: one exception with a sentence that names the thing, and one that names the next step.
Never: a secret or personal data in a message, for messages reach logs and the web UI.

| error | whose problem | tried again by a task | alert |
|---|---|---|---|
| ConfigError | ours: configuration, arguments, mapping files | no | at once |
| AuthError | ours: credentials or scopes | no | at once |
| RateLimited | the system's: too many requests | after `retry_after` | after the last try |
| Transient | the network's or the system's: time-outs, 5xx | with growing pauses | after the last try |
| OutcomeUnknown | a write whose answer was lost | asks the target first | after the last try |
| Elsewhere | nobody's: another live run has the batch | no: it is left to that run | no |
| LeaseLost | nobody's: another worker has taken over | yes, as any other | after the last try |
| CircuitOpen | the system is down; its flows pause | when the circuit closes | once per outage |
| BadResponse | the system's: an answer against its contract | once, then no | at once |
| RecordRejected | the record's: refused by the target | no: dead letter | by threshold |
| BatchStopped | too many records of a batch break a rule | no: a person looks first | at once |
| WriteRefused | nobody's: the flow at work is in shadow mode, or none is at work | no: kept as what would be | no |
| NotAllowed | the person's who asked: no role for it | - | no |
| ControlFailed | the ledger's: a control does not hold | no: a person looks first | at once, each control |
"""

from __future__ import annotations

from dataclasses import dataclass


def storable(text: str) -> str:
    """Cleans foreign text of what no column of a table can hold: U+0000 and lone surrogates."""
    return text.replace("\0", "").encode(errors="replace").decode()


class CrossdockError(Exception):
    """`message` says what happened to which thing; `do` what a person should do about it. Both are kept in tables.
    `failure`: the row of the table of failures that it comes from; `what`: method and path of the request."""

    failure = ""
    what = ""

    def __init__(self, message: str, *, do: str = "", system: str | None = None) -> None:
        super().__init__(storable(message))
        self.message = storable(message)
        self.do = storable(do)
        self.system = system

    def __str__(self) -> str:
        return f"{self.message} {self.do}".strip()

    def __reduce__(self) -> tuple:
        """Pickles all fields of the exception: Airflow's workers pass it from process to process."""
        return _restored, (type(self), self.__dict__)


def _restored(kind: type[CrossdockError], facts: dict) -> CrossdockError:
    error = kind.__new__(kind, facts["message"])
    error.__dict__.update(facts)
    return error


class ConfigError(CrossdockError):
    """Configuration, arguments or mapping files are wrong; nothing was sent or written."""


class NotAllowed(CrossdockError):
    """A person asked for something that none of their roles allows."""


class AuthError(CrossdockError):
    """Credentials are missing, wrong, expired or too narrow."""


class Transient(CrossdockError):
    """The network or the system failed in a way that passes: time-out, cut connection, 5xx."""


class OutcomeUnknown(Transient):
    """A write was sent and its answer lost: ask the target before sending it again. `answered`: the system has ended
    its work on it, so that what the target shows now is what became of it; otherwise it may still take effect."""

    def __init__(self, message: str, *, answered: bool = False, do: str = "", system: str | None = None) -> None:
        super().__init__(message, do=do, system=system)
        self.answered = answered


class Elsewhere(Transient):
    """Another live run has the batch."""


class LeaseLost(Transient):
    """Another worker has taken over: this one writes nothing more."""


class CircuitOpen(Transient):
    """The system failed so often that it is left alone for `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float, do: str = "", system: str | None = None) -> None:
        super().__init__(message, do=do, system=system)
        self.retry_after = retry_after


class RateLimited(Transient):
    """The system answered 429. `retry_after`: the pause that it asks for in seconds, None where it names none."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, do: str = "", system: str | None = None
    ) -> None:
        super().__init__(message, do=do, system=system)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was not sent. Its body may hold personal data."""

    method: str
    path: str  # below the base URL, without the query
    body: bytes | None = None
    idempotency_key: str | None = None


class WriteRefused(CrossdockError):
    """A request that changes something was not sent, for nothing may be written now: the flow is in shadow mode, or the
    code that asked works for no flow. `request`: what would have been sent; it stays in this process."""

    def __init__(self, message: str, *, request: Request, do: str = "", system: str | None = None) -> None:
        super().__init__(message, do=do, system=system)
        self.request: Request | None = request

    def __reduce__(self) -> tuple:
        return _restored, (type(self), {**self.__dict__, "request": None})


class BadResponse(CrossdockError):
    """The answer breaks the contract: not JSON, missing parts, a cursor that repeats."""


class BatchStopped(CrossdockError):
    """So many records of a batch break a rule that it stopped before loading; nothing of it was delivered."""


class ControlFailed(CrossdockError):
    """A control over the ledger does not hold: the month is not to be closed until a person has found out why."""


@dataclass(frozen=True)
class Refusal:
    """One reason why a record was refused, in the words of the system."""

    field: str  # path or JSON pointer of the field, "" for the whole record
    code: str  # stable name of the rule or the system's error code
    message: str  # for people

    def __post_init__(self) -> None:
        for name in ("field", "code", "message"):
            object.__setattr__(self, name, storable(getattr(self, name)))


class RecordRejected(CrossdockError):
    """The target refused one record (4xx). Other records are not concerned."""

    def __init__(
        self,
        message: str,
        status: int,
        code: str = "",
        refusals: list[Refusal] | None = None,
        existing_id: str | None = None,
        body: dict | None = None,
        do: str = "",
        system: str | None = None,
    ) -> None:
        super().__init__(message, do=do, system=system)
        self.status = status
        self.code = storable(code)
        self.refusals = refusals or []
        # The record that is there already: of DUPLICATE_EXTERNAL_REFERENCE and similar codes.
        self.existing_id = None if existing_id is None else storable(existing_id)
        self.body = body or {}  # the parsed error, for facts such as AllowedActions; may hold personal data
