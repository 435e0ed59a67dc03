-- Goods that come back have the cost at which they were shipped.
-- do: Compare the adjustment with its shipment in TIMS; reverse it there and enter it at the cost of the shipment.
WITH back AS (
  SELECT a.id, a.posting_date, abs(a.quantity_delta) * a.unit_cost AS actual, abs(a.quantity_delta) * sent.cost AS expected
  FROM ref.adjustment a JOIN stage.credit_memo_line l ON l.document = a.external_reference AND l.entity = 'stock_adjustment'
  JOIN ref.shipment s ON s.id = l."ShipmentID"
  JOIN LATERAL (  -- of several lines at several costs the one that it is, else the first
    SELECT (p->>'UnitCost')::numeric AS cost FROM jsonb_array_elements(s.payload->'Lines') p
    WHERE (p->>'SalesOrderLineNo')::bigint = l.order_line AND p->>'SKU' = a.sku
    ORDER BY (p->>'UnitCost')::numeric <> a.unit_cost, (p->>'LineNo')::int LIMIT 1
  ) sent ON true
  WHERE a.source = 'Crossdock' AND a.status <> 'Reversed'
)
SELECT (SELECT base_currency FROM ref.company) AS subject, coalesce(round(sum(expected), 2), 0.00) AS expected,
       coalesce(round(sum(actual), 2), 0.00) AS actual, array_agg(id ORDER BY id) FILTER (WHERE expected <> actual) AS documents
FROM back WHERE posting_date <= :period_end
