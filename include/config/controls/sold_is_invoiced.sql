-- What was sold is invoiced: the invoices of an order that was sent and invoiced whole add up to the order, to the cent.
-- do: Compare the order with its invoices in TIMS; credit or void what is wrong and invoice it again.
WITH whole AS (
  SELECT o.id, o.currency_code,
         (o.payload->>'TotalAmount')::numeric
         - coalesce((SELECT sum((l->>'TaxAmount')::numeric) FROM jsonb_array_elements(o.payload->'LineItems') l
                     WHERE l->>'TaxRemittedBy' = 'Marketplace'), 0)
         - CASE WHEN o.payload->>'ShippingTaxRemittedBy' = 'Marketplace' THEN (o.payload->>'ShippingTaxAmount')::numeric ELSE 0 END AS sold
  FROM ref.sales_order o
  WHERE (SELECT bool_and((l->>'QuantityInvoiced')::bigint = (l->>'Quantity')::bigint) FROM jsonb_array_elements(o.payload->'LineItems') l)
), invoiced AS (
  SELECT w.id, w.currency_code, w.sold, sum(i.total) AS total, max(i.posting_date) AS last_day, array_agg(i.id ORDER BY i.id) AS invoices
  FROM whole w JOIN ref.invoice i ON i.sales_order_id = w.id AND i.status <> 'Voided'
  GROUP BY 1, 2, 3
)
SELECT currency_code AS subject, sum(sold) AS expected, sum(total) AS actual,
       array_agg(id || ': ' || array_to_string(invoices, ', ') ORDER BY id) FILTER (WHERE sold <> total) AS documents
FROM invoiced WHERE last_day <= :period_end GROUP BY 1
