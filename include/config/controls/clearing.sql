-- Clearing is what channels and buyers owe us: invoices and credit memos that are not paid, lines of settlements that are not paid out or applied yet, and what was paid before its shipment.
-- do: Compare each document named here with its entry in TIMS; post what is missing with `crossdock sync ledger_...`.
WITH day AS (SELECT time_zone FROM ref.company),
entry AS (  -- one row per entry and what it moves on Clearing, by the document's own key
  SELECT CASE WHEN e.source = 'TIMS' AND e.document_type = 'Invoice' THEN 'sale:' || e.document_id
              WHEN e.source = 'TIMS' AND e.document_type = 'Payment' THEN 'payment:' || e.document_id
              ELSE regexp_replace(coalesce(old.external_reference, e.external_reference), ':v\d+$', '') END AS key,
         e.id, e.currency_code, e.posting_date, e.reversal_of, e.status, sum(l.debit - l.credit) AS amount
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
  LEFT JOIN ref.gl_entry old ON old.id = e.reversal_of  -- a mirror counts with its original
  JOIN ref.account_name n ON n.code = l.account_code AND n.name = 'Clearing'
  GROUP BY e.id, old.id
), posted AS (  -- when a document was posted and when its last entry was mirrored: a closed period may have moved both
  SELECT key, min(posting_date) FILTER (WHERE reversal_of IS NULL) AS on_day,
         max(posting_date) FILTER (WHERE reversal_of IS NOT NULL) AS mirrored_on,
         bool_or(reversal_of IS NULL AND status = 'Posted') AS stands
  FROM entry GROUP BY key
), captured AS (  -- orders that were paid to us before their shipment: what is due, and what their units have come to
  SELECT o.id, o.external_order_id, o.currency_code, p.stands, u.*, coalesce(i.invoiced, 0) AS invoiced, i.last_day,
         (o.payload->>'TotalAmount')::numeric - u.remitted
         - CASE WHEN o.payload->>'ShippingTaxRemittedBy' = 'Marketplace' THEN (o.payload->>'ShippingTaxAmount')::numeric ELSE 0 END AS due
  FROM ref.sales_order o JOIN posted p ON p.key = 'capture:' || o.external_order_id
  CROSS JOIN LATERAL (
    SELECT coalesce(sum((l->>'TaxAmount')::numeric) FILTER (WHERE l->>'TaxRemittedBy' = 'Marketplace'), 0) AS remitted,
           sum((l->>'QuantityCancelled')::bigint) AS cancelled, sum((l->>'QuantityShipped')::bigint) AS shipped,
           bool_and((l->>'QuantityShipped')::bigint = (l->>'QuantityInvoiced')::bigint
                    AND (l->>'QuantityShipped')::bigint + (l->>'QuantityCancelled')::bigint = (l->>'Quantity')::bigint) AS done
    FROM jsonb_array_elements(o.payload->'LineItems') l
  ) u
  LEFT JOIN (SELECT sales_order_id, sum(total) AS invoiced, max(posting_date) AS last_day
             FROM ref.invoice WHERE status <> 'Voided' GROUP BY 1) i ON i.sales_order_id = o.id
), document AS (
  SELECT 'sale:' || id AS key, id, currency_code, posting_date, total AS amount, status = 'Voided' AS void FROM ref.invoice
  UNION ALL
  SELECT 'refund:' || id, id, currency_code, posting_date, -total, false FROM ref.credit_memo
  UNION ALL
  SELECT 'round:' || c.id, c.id, c.currency_code, c.posting_date, -l."RoundingAmount", false
  FROM ref.credit_memo c JOIN stage.credit_memo_line l ON l.document = c.external_reference
  WHERE c.source = 'Crossdock' AND c.posting_mode = 'external' AND l."RoundingAmount" <> 0
  UNION ALL
  SELECT 'payment:' || id, id, currency_code, posting_date, unapplied_amount - amount, status = 'Reversed'
  FROM ref.payment WHERE posting_mode = 'automatic'
  UNION ALL
  SELECT 'round:' || s.key, p.id, p.currency_code, p.posting_date, -s.rounding, p.status = 'Reversed'
  FROM stage.payment s JOIN ref.payment p ON p.source = 'Crossdock' AND p.external_reference = 'pay:' || s.key
  WHERE s.rounding <> 0
  UNION ALL
  SELECT 'fee:' || source || ':' || settlement_id || ':' || line_no, source || ':' || settlement_id || ':' || line_no,
         currency_code, (posted_at AT TIME ZONE time_zone)::date, amount, false
  FROM ref.settlement_line, day
  WHERE kind NOT IN ('principal', 'shipping', 'gift_wrap', 'tax', 'promotion', 'shipping_promotion', 'marketplace_tax',
                     'refund_principal', 'refund_shipping', 'refund_gift_wrap', 'refund_tax', 'refund_promotion',
                     'refund_shipping_promotion', 'refund_marketplace_tax', 'carried_forward')
  UNION ALL
  SELECT 'transfer:' || source || ':' || settlement_id, source || ':' || settlement_id, currency_code,
         (coalesce(deposit_at, end_at) AT TIME ZONE time_zone)::date, -total, false
  FROM ref.settlement, day WHERE total > 0
  UNION ALL  -- a capture is owed until invoices use it; what no invoice will use is given back
  SELECT 'capture:' || external_order_id, id, currency_code, NULL, due, NOT stands FROM captured
  UNION ALL
  SELECT 'dep:' || i.id, i.id, i.currency_code, i.posting_date, -i.total, i.status = 'Voided' OR NOT c.stands
  FROM ref.invoice i JOIN captured c ON c.id = i.sales_order_id WHERE i.posting_mode = 'external'
  UNION ALL
  SELECT 'capture:' || external_order_id || ':cancelled', id, currency_code, last_day, invoiced - due, NOT stands
  FROM captured WHERE done AND cancelled > 0 AND shipped > 0 AND invoiced <> due
), expected AS (
  SELECT d.key, d.id, d.currency_code, d.amount
  FROM document d LEFT JOIN posted p USING (key)
  WHERE coalesce(p.on_day, d.posting_date) <= :period_end AND NOT (d.void AND coalesce(p.mirrored_on, '-infinity') <= :period_end)
), actual AS (
  SELECT key, min(id) AS id, currency_code, sum(amount) AS amount FROM entry WHERE posting_date <= :period_end
  GROUP BY key, currency_code
), both_sides AS (
  SELECT coalesce(x.id, a.id) AS id, key, currency_code, coalesce(x.amount, 0) AS expected, coalesce(a.amount, 0) AS actual
  FROM (SELECT key, currency_code, min(id) AS id, sum(amount) AS amount FROM expected GROUP BY 1, 2) x
  FULL JOIN actual a USING (key, currency_code)
)
SELECT currency_code AS subject, sum(expected) AS expected, sum(actual) AS actual,
       array_agg(DISTINCT id || ' (' || key || ')') FILTER (WHERE expected <> actual) AS documents
FROM both_sides GROUP BY 1
