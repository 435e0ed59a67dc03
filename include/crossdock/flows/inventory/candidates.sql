-- Items that may have a new product: those that wait for one, and those whose item or product was read lately.
SELECT key FROM stage.channel_quantity WHERE state = 'waiting'
UNION
SELECT key FROM ops.work WHERE queue = :items AND batch_id = ANY(CAST(:recent AS bigint[]))
UNION
SELECT c.sku FROM ops.work w JOIN ref.channel_product p ON p.sku = w.key JOIN ref.item_code c ON c.folded = p.folded
  WHERE w.queue = :products AND w.batch_id = ANY(CAST(:recent AS bigint[]))
