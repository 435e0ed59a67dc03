-- What is open of an invoice or credit memo is its total less what payments apply to it.
-- do: Compare the document's payments in TIMS; reverse the payment that is wrong.
WITH applied AS (
  SELECT coalesce(a->>'InvoiceID', a->>'CreditMemoID') AS id, sum(abs((a->>'Amount')::numeric)) AS amount
  FROM ref.payment p CROSS JOIN LATERAL jsonb_array_elements(p.payload->'Applications') a
  WHERE p.status <> 'Reversed' GROUP BY 1
), document AS (
  SELECT id, currency_code, total, balance FROM ref.invoice WHERE status <> 'Voided'
  UNION ALL
  SELECT id, currency_code, total, balance FROM ref.credit_memo
), open_ AS (
  SELECT d.id, d.currency_code, d.total - coalesce(a.amount, 0) AS rest, d.balance FROM document d LEFT JOIN applied a USING (id)
)
SELECT currency_code AS subject, sum(rest) AS expected, sum(balance) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE rest <> balance) AS documents
FROM open_ GROUP BY 1
