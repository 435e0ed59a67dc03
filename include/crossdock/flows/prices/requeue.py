"""Finds records to be worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from crossdock.flows.prices import transform
from crossdock.flows.prices.load import NAME, doubtful_prices
from crossdock.rules import price_settings
from crossdock.store import abilities, sql, watermarks

_REQUEUE = sql.statement(__package__, "requeue")
LOOKED_AT = "prices.products"  # watermark up to which new products and listings are worked; no list has this name
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_LATE = timedelta(minutes=10)  # longest time from a change of a product or listing until it is read


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds rows whose price may have changed although their item has not."""
    at = transform.clock(connection)
    since = watermarks.position(connection, NAME, LOOKED_AT)
    keys = connection.scalars(
        _REQUEUE,
        {
            "rules": transform.fingerprint(price_settings.load(), at, abilities.lacking(connection)),
            "now": at.now,
            "flow": NAME,
            "since": since - _LATE if since else _BEGINNING,
            "doubtful": list(doubtful_prices(connection)),
        },
    ).all()
    watermarks.move(connection, NAME, LOOKED_AT, at.now, None)
    return keys
