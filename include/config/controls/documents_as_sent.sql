-- Documents in TIMS have the amounts and units with which we sent them: orders as the channel sold them, invoices, credit memos, stock adjustments.
-- do: Compare the document in TIMS with its stage row; find out who changed it, then void, credit or reverse it in TIMS and work it again.
WITH sent AS (
  SELECT o.id, o.currency_code, s."TotalAmount" AS expected, (o.payload->>'TotalAmount')::numeric AS actual, NULL::date AS day
  FROM stage.sales_order s JOIN ref.sales_order o ON o.external_order_id = s.key AND o.source = s."Source"
  WHERE s.state IN ('delivered', 'unchanged')
  UNION ALL
  SELECT i.id, i.currency_code, s."Total", i.total, i.posting_date
  FROM stage.invoice s JOIN ref.invoice i ON i.external_reference = s."ExternalReference" AND i.source = s."Source"
  WHERE s.state IN ('delivered', 'unchanged') AND i.status <> 'Voided'
  UNION ALL
  SELECT c.id, c.currency_code, l."Total", c.total, c.posting_date
  FROM stage.credit_memo s JOIN stage.credit_memo_line l USING (key)
  JOIN ref.credit_memo c ON c.external_reference = l.document AND c.source = 'Crossdock'
  WHERE s.state IN ('delivered', 'unchanged') AND l.entity = 'credit_memo' AND l."InvoiceLineNo" IS NULL
  UNION ALL
  SELECT a.id, b.base_currency, l."QuantityDelta" * l."UnitCost", a.quantity_delta * a.unit_cost, a.posting_date
  FROM stage.credit_memo s JOIN stage.credit_memo_line l USING (key)
  JOIN ref.adjustment a ON a.external_reference = l.document AND a.source = 'Crossdock' CROSS JOIN ref.company b
  WHERE s.state IN ('delivered', 'unchanged') AND l.entity = 'stock_adjustment'
  UNION ALL
  SELECT a.id, b.base_currency, s."QuantityDelta" * a.unit_cost, a.quantity_delta * a.unit_cost, a.posting_date
  FROM stage.stock_adjustment s
  JOIN ref.adjustment a ON a.external_reference = s."ExternalReference" AND a.source = s."Source" CROSS JOIN ref.company b
  WHERE s.state IN ('delivered', 'unchanged')
)
SELECT currency_code AS subject, sum(expected) AS expected, sum(actual) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE expected <> actual) AS documents
FROM sent WHERE coalesce(day, '-infinity') <= :period_end GROUP BY 1
