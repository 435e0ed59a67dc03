"""Which records are worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from crossdock.flows.prices import transform
from crossdock.flows.prices.load import NAME, doubtful_prices
from crossdock.rules import price_settings
from crossdock.store import watermarks

_FINISHED = "s.state IN ('delivered', 'unchanged', 'waiting', 'dead', 'left_out')"
# By the clock or a changed configuration; approved; with a product or listing that was not there.
_WAKE = sa.text(f"""
SELECT s.key FROM stage.price s WHERE {_FINISHED} AND s.rules <> :rules
UNION SELECT s.key FROM stage.price s WHERE {_FINISHED} AND s.next_at <= :now
UNION SELECT s.key FROM ops.approval a JOIN stage.price s ON s.key = a.key
  WHERE a.flow = :flow AND a.state = 'approved' AND a.used_at IS NULL AND s.state = 'waiting'
UNION SELECT s.key FROM ref.channel_product p JOIN ref.item_code i ON i.folded = p.folded
  JOIN stage.price s ON s.key = i.sku
  WHERE p.version >= :since AND {_FINISHED} AND s.state <> 'left_out' AND NOT jsonb_exists(s.seen, p.sku)
UNION SELECT s.key FROM ref.channel_listing l JOIN stage.price_line x ON x.sku = l.sku
  JOIN stage.price s ON s.key = x.key
  WHERE l.version >= :since AND l.status <> 'Ended' AND {_FINISHED} AND s.state <> 'left_out'
    AND NOT jsonb_exists(s.seen, '#' || l.listing_id)
UNION SELECT x.key FROM stage.price_line x JOIN stage.price s ON s.key = x.key
  WHERE {_FINISHED} AND coalesce('#' || x.listing_id, x.sku) = ANY (:doubtful)
ORDER BY 1
""")
LOOKED_AT = "prices.products"  # no list that is read: up to where new products and listings have been looked at
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_LATE = timedelta(minutes=10)  # products and listings of the channel may be read so much later than they changed


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Rows whose price may be another one, although their item has not changed."""
    at = transform.clock(connection)
    since = watermarks.position(connection, NAME, LOOKED_AT)
    keys = connection.scalars(
        _WAKE,
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
