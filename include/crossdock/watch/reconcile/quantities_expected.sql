-- What the channel should have, by the Stock rule. What is free is TIMS's own word of just now; where it is the figure that
-- was staged, all of the rule counts (also caps and shares), else what is held back of it.
WITH free AS (
  SELECT DISTINCT ON (key) key, (facts->>'quantity')::bigint AS quantity
  FROM ops.reading WHERE subject = 'quantities' AND side = 'tims' ORDER BY key, version DESC, id DESC
)
SELECT f.key, jsonb_build_object('quantity', CASE
         WHEN s.item_state IN ('blocked', 'not_eligible') THEN 0
         WHEN greatest(0, s.available) = f.quantity THEN s.quantity
         ELSE greatest(0, f.quantity - s.in_flight - s.buffer) END) AS facts
FROM free f JOIN stage.channel_quantity s ON lower(btrim(s.key)) = f.key
WHERE s.quantity IS NOT NULL
