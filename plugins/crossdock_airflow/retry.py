"""The library's typed errors as Airflow's retry decisions. The table is that of `crossdock.errors`.

In: the exception of a failed task. Out: fail now, or try again and when.
Never: tries again what a person must mend first; more tries than the task has `retries`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryPolicy

from crossdock.errors import (
    AuthError,
    BadResponse,
    BatchStopped,
    ConfigError,
    ControlFailed,
    NotAllowed,
    RecordRejected,
    Transient,
)

FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=15)
A_PERSON_FIRST = (ConfigError, NotAllowed, AuthError, BatchStopped, ControlFailed, RecordRejected)


class TypedErrors(RetryPolicy):
    """Fails at once what a person must mend, gives a contract-breaking answer one more chance, and waits as long as
    the system asks for (its `retry_after`), or twice as long with every try. Unknown errors: the task's own retries."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> Any:
        from airflow.sdk import RetryDecision

        what = type(exception).__name__
        if isinstance(exception, A_PERSON_FIRST):
            return RetryDecision.fail(f"{what}: a person must mend the cause first")
        if isinstance(exception, BadResponse):
            if try_number > 1:
                return RetryDecision.fail(f"{what} twice: the system breaks its contract")
            return RetryDecision.retry(FIRST_PAUSE, f"{what}: one more chance")
        if isinstance(exception, Transient):
            return RetryDecision.retry(pause(exception, try_number), f"{what}: it passes by itself")
        return RetryDecision.default()


def pause(error: Transient, try_number: int) -> timedelta:
    """How long to wait after the n-th try (from 1): growing, at least what the error asks for, at most 15 minutes."""
    requested = timedelta(seconds=getattr(error, "retry_after", None) or 0)
    return min(max(FIRST_PAUSE * 2 ** (try_number - 1), requested), LONGEST_PAUSE)
