-- Quantities whose item has changed its state.
SELECT DISTINCT q.key FROM ops.work w JOIN ref.item i ON i.sku = w.key
JOIN stage.channel_quantity q ON q.key = i.sku
WHERE w.batch_id = ANY(CAST(:recent AS bigint[])) AND w.queue = :items
  AND q.state <> 'dead' AND q.item_state IS DISTINCT FROM CASE WHEN i.status = 'Blocked' THEN 'blocked' WHEN NOT i.channel_eligible THEN 'not_eligible'
    WHEN i.status = 'Discontinued' THEN 'discontinued' ELSE 'sellable' END
