-- What buyers get back is what the channel says of their returns: the credit memos of a return and what was rounded add up to its refund, to the cent.
-- do: Compare the return on the channel with its credit memos in TIMS; correct the credit memos there, and tell an engineer.
WITH given AS (
  SELECT s.key, s."CurrencyCode" AS currency_code, s.refund_total - coalesce(s.uncredited, 0) AS refund
  FROM stage.credit_memo s WHERE s.state IN ('delivered', 'unchanged')
), credited AS (
  SELECT l.key, sum(c.total + (c.payload->>'MarketplaceRemittedTax')::numeric + coalesce(l."RoundingAmount", 0)) AS amount, max(c.posting_date) AS last_day,
         array_agg(c.id ORDER BY c.id) AS memos
  FROM ref.credit_memo c JOIN stage.credit_memo_line l ON l.document = c.external_reference
  WHERE c.source = 'Crossdock' AND l.entity = 'credit_memo' AND l."InvoiceLineNo" IS NULL
  GROUP BY 1
)
SELECT currency_code AS subject, sum(refund) AS expected, sum(coalesce(amount, 0)) AS actual,
       array_agg('return ' || key || coalesce(': ' || array_to_string(memos, ', '), '') ORDER BY key)
         FILTER (WHERE refund <> coalesce(amount, 0)) AS documents
FROM given LEFT JOIN credited USING (key) WHERE coalesce(last_day, '-infinity') <= :period_end GROUP BY 1
