-- Cost of goods is what was invoiced at the cost of its shipment, less what came back into stock.
-- do: Compare the document with its entry in TIMS; what is missing is posted by `crossdock sync ledger_invoices` or `ledger_adjustments`.
WITH sent AS (  -- lines of shipments, with the units of the same order line before them
  SELECT s.id, (l->>'SalesOrderLineNo')::int AS line, (l->>'Quantity')::bigint AS units, (l->>'UnitCost')::numeric AS cost,
         sum((l->>'Quantity')::bigint) OVER (PARTITION BY s.id, l->>'SalesOrderLineNo' ORDER BY (l->>'LineNo')::int)
           - (l->>'Quantity')::bigint AS before
  FROM ref.shipment s CROSS JOIN LATERAL jsonb_array_elements(s.payload->'Lines') l
), invoiced AS (
  SELECT i.id, i.shipment_id, i.posting_date, i.status = 'Voided' AS void, (l->>'SalesOrderLineNo')::int AS line,
         sum((l->>'Quantity')::bigint) AS units
  FROM ref.invoice i CROSS JOIN LATERAL jsonb_array_elements(i.payload->'Lines') l
  WHERE i.posting_mode = 'external'
  GROUP BY 1, 2, 3, 4, 5
), document AS (
  SELECT 'cogs:' || i.id AS key, i.id, i.posting_date, i.void,
         sum(round(least(greatest(i.units - s.before, 0), s.units) * s.cost, 2)) AS amount
  FROM invoiced i JOIN sent s ON s.id = i.shipment_id AND s.line = i.line
  GROUP BY 1, 2, 3, 4
  UNION ALL
  SELECT 'stock:' || a.id, a.id, a.posting_date, a.status = 'Reversed', -round(a.quantity_delta * a.unit_cost, 2)
  FROM ref.adjustment a LEFT JOIN ref.adjustment old ON old.id = a.payload->>'ReversalOf'
  WHERE a.reason_code = 'ReturnRestock' AND a.posting_mode = 'external'
    AND coalesce(old.posting_mode, 'automatic') = 'automatic'
), entry AS (
  SELECT regexp_replace(coalesce(old.external_reference, e.external_reference), ':v\d+$', '') AS key, e.currency_code, e.posting_date,
         e.document_id AS id, e.reversal_of, l.debit - l.credit AS amount
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
  LEFT JOIN ref.gl_entry old ON old.id = e.reversal_of  -- a mirror counts with its original
  JOIN ref.account_name n ON n.code = l.account_code AND n.name = 'COGS'
  WHERE e.source <> 'TIMS'
), posted AS (  -- a closed period may have moved an entry, and its mirror
  SELECT key, min(posting_date) FILTER (WHERE reversal_of IS NULL) AS on_day,
         max(posting_date) FILTER (WHERE reversal_of IS NOT NULL) AS mirrored_on
  FROM entry GROUP BY key
), actual AS (
  SELECT key, min(id) AS id, sum(amount) AS amount FROM entry WHERE posting_date <= :period_end GROUP BY key
), expected AS (
  SELECT d.key, d.id, d.amount FROM document d LEFT JOIN posted p USING (key)
  WHERE coalesce(p.on_day, d.posting_date) <= :period_end AND NOT (d.void AND coalesce(p.mirrored_on, '-infinity') <= :period_end)
), both_sides AS (
  SELECT coalesce(x.id, a.id) AS id, coalesce(x.amount, 0) AS expected, coalesce(a.amount, 0) AS actual
  FROM expected x FULL JOIN actual a USING (key)
)
SELECT (SELECT base_currency FROM ref.company) AS subject, coalesce(sum(expected), 0.00) AS expected,
       coalesce(sum(actual), 0.00) AS actual, array_agg(id ORDER BY id) FILTER (WHERE expected <> actual) AS documents
FROM both_sides
