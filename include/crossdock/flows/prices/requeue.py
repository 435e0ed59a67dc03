"""Which records are worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from crossdock.flows.prices import transform
from crossdock.flows.prices.load import NAME, doubtful_prices
from crossdock.rules import price_settings
from crossdock.store import sql, watermarks

_REQUEUE = sql.statement(__package__, "requeue")
LOOKED_AT = "prices.products"  # no list that is read: up to where new products and listings have been looked at
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_LATE = timedelta(minutes=10)  # products and listings of the channel may be read so much later than they changed


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Rows whose price may be another one, although their item has not changed."""
    at = transform.clock(connection)
    since = watermarks.position(connection, NAME, LOOKED_AT)
    keys = connection.scalars(
        _REQUEUE,
        {
            "rules": transform.fingerprint(price_settings.load(), at),
            "now": at.now,
            "flow": NAME,
            "since": since - _LATE if since else _BEGINNING,
            "doubtful": list(doubtful_prices(connection)),
        },
    ).all()
    watermarks.move(connection, NAME, LOOKED_AT, at.now, None)
    return keys
