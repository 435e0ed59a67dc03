-- Items to be priced again, for the time or a changed configuration, an approval, or a new product or listing.
SELECT s.key FROM stage.price s WHERE s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out')
    AND s.rules <> :rules
UNION
SELECT s.key FROM stage.price s WHERE s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out')
    AND s.next_at <= :now
UNION
SELECT s.key FROM ops.approval a JOIN stage.price s ON s.key = a.key
  WHERE a.flow = :flow AND a.state = 'approved' AND a.used_at IS NULL AND s.state = 'waiting'
UNION
SELECT s.key FROM ref.channel_product p JOIN ref.item_code i ON i.folded = p.folded
  JOIN stage.price s ON s.key = i.sku
  WHERE p.version >= :since AND s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out')
    AND s.state <> 'left_out' AND NOT jsonb_exists(s.seen, p.sku)
UNION
SELECT s.key FROM ref.channel_listing l JOIN stage.price_line x ON x.sku = l.sku
  JOIN stage.price s ON s.key = x.key
  WHERE l.version >= :since AND l.status <> 'Ended'
    AND s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out') AND s.state <> 'left_out'
    AND NOT jsonb_exists(s.seen, '#' || l.listing_id)
UNION
SELECT x.key FROM stage.price_line x JOIN stage.price s ON s.key = x.key
  WHERE s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out')
    AND coalesce('#' || x.listing_id, x.sku) = ANY(:doubtful)
ORDER BY 1
