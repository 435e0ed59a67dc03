-- The sales orders of these marketplace numbers, by the number itself or by Channel Advisor's.
SELECT w.ref, o.id AS sales_order_id, o.channel,
       (SELECT coalesce(sum((l->>'Quantity')::int - (l->>'QuantityCancelled')::int - (l->>'QuantityInvoiced')::int), 0)
        FROM jsonb_array_elements(o.payload->'LineItems') AS l) AS open_units
FROM unnest(CAST(:refs AS text[])) AS w (ref)
JOIN ops.link k ON k.entity = 'sales_order' AND w.ref IN (k.other_key, k.source_key)
JOIN ref.sales_order o ON o.id = k.target_id
UNION
SELECT w.ref, o.id, o.channel, 0 FROM unnest(CAST(:refs AS text[])) AS w (ref) JOIN ref.sales_order o ON o.id = w.ref
