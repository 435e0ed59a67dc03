-- Totals of invoices and credit memos are the sums of their parts, to the cent.
-- do: Compare the document with its order; void or credit it in TIMS and invoice it again.
WITH document AS (
  SELECT i.id, i.currency_code, i.payload AS p, i.total, i.posting_date,
         (SELECT sum(round((l->>'Quantity')::numeric * (l->>'UnitPrice')::numeric, 2)) FROM jsonb_array_elements(i.payload->'Lines') l) AS goods
  FROM ref.invoice i
  UNION ALL
  SELECT c.id, c.currency_code, c.payload, c.total, c.posting_date,
         coalesce((SELECT sum((l->>'Amount')::numeric) FROM jsonb_array_elements(c.payload->'Lines') l), 0)
  FROM ref.credit_memo c
), part AS (
  SELECT id, currency_code, total, posting_date,
         goods - (p->>'DiscountTotal')::numeric + (p->>'ShippingAmount')::numeric + coalesce((p->>'GiftWrapAmount')::numeric, 0)
         + CASE WHEN (p->>'PricesIncludeTax')::boolean THEN 0 ELSE (p->>'TaxTotal')::numeric END
         - (p->>'MarketplaceRemittedTax')::numeric AS parts
  FROM document
)
SELECT currency_code AS subject, sum(parts) AS expected, sum(total) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE parts <> total) AS documents
FROM part WHERE posting_date <= :period_end GROUP BY 1
