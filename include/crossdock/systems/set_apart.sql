-- Marks the lines of orders that the configuration leaves out as :apart; gives others their kind again.
WITH left_out AS (
  SELECT "Channel" AS channel, unnest(ARRAY[marketplace_order_id, key]) AS number FROM stage.sales_order
  WHERE state = 'left_out' AND reason = :reason
)
UPDATE ref.settlement_line l SET former_kind = l.kind, booked_at = now(),
  kind = CASE l.kind WHEN :apart THEN l.former_kind ELSE :apart END
WHERE l.kind = ANY(:own) AND l.sales_order_id IS NULL AND EXISTS (
  SELECT FROM left_out o JOIN ref.settlement s ON s.channel = o.channel
  WHERE s.source = l.source AND s.settlement_id = l.settlement_id
    AND o.number IN (l.order_ref, l.merchant_order_ref)
) OR l.kind = :apart AND NOT EXISTS (
  SELECT FROM left_out o JOIN ref.settlement s ON s.channel = o.channel
  WHERE s.source = l.source AND s.settlement_id = l.settlement_id
    AND o.number IN (l.order_ref, l.merchant_order_ref)
)
