-- Open invoices and credit memos of some sales orders, less our own payments that have not been read from TIMS yet.
WITH pending AS (
  SELECT coalesce(a."InvoiceID", a."CreditMemoID") AS id, sum(abs(a."Amount")) AS amount
  FROM stage.payment_application a JOIN stage.payment p USING (key)
  WHERE p.state IN ('staged', 'ready', 'would_be', 'delivered', 'unchanged') AND p.key <> ALL(CAST(:keys AS text[]))
    AND NOT EXISTS (SELECT 1 FROM ref.payment t WHERE t.external_reference = p."ExternalReference" AND t.source = :us)
  GROUP BY 1
), document AS (
  SELECT 'invoice' AS kind, id, sales_order_id, currency_code AS currency, balance, 0 AS beyond, posting_date
  FROM ref.invoice WHERE status <> 'Voided' AND (sales_order_id = ANY(:orders) OR id = ANY(:ids))
  UNION ALL
  SELECT 'credit_memo', id, sales_order_id, currency_code, balance,
         coalesce((SELECT sum(l."RoundingAmount") FROM stage.credit_memo_line l
                   WHERE c.source = :us AND l.document = c.external_reference), 0), posting_date
  FROM ref.credit_memo c WHERE sales_order_id = ANY(:orders) OR id = ANY(:ids)
)
SELECT kind, id, sales_order_id, currency, ((balance - coalesce(amount, 0)) * 10000)::bigint AS balance,
       (beyond * 10000)::bigint AS beyond
FROM document LEFT JOIN pending USING (id) ORDER BY posting_date, id
