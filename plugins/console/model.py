"""The language model that helps with suggestions, where somebody has given Airflow a connection to one.

In: the connection `crossdock_ai` of Airflow. Out: the model; None without a connection, or with one that is refused.
Never: a look-up of the connection with every request; a request that fails for want of a model.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

FRESH = 60  # seconds for which a connection is good as it was read


def model() -> Any:
    """The model, as Airflow's connection says of it."""
    return _connected(int(time.monotonic() / FRESH))


@lru_cache(maxsize=1)
def _connected(moment: int) -> Any:
    """The same answer for a while. `moment`: the number of that while."""
    from crossdock.services.suggestions import model_of
    from crossdock_airflow.connections import connection

    return model_of(connection)
