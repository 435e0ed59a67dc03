"""How many examples a test of any input tries: few and always the same ones, many times more when asked.

`CROSSDOCK_EXAMPLES=20 make test` tries twenty times as many. The examples depend on the test alone, so a failure fails
again, on every machine.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

TIMES = max(1, int(os.environ.get("CROSSDOCK_EXAMPLES") or 1))


def examples(few: int, **more: Any) -> settings:
    """Settings of a test that tries `few` examples."""
    return settings(max_examples=few * TIMES, derandomize=True, deadline=None, database=None, **more)
