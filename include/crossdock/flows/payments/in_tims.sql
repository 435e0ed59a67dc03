-- Payments of ours without a record here, as TIMS has them.
SELECT p.external_reference, p.currency_code, (p.amount * 10000)::bigint AS amount, (
    SELECT min(d.sales_order_id) FROM jsonb_array_elements(p.payload->'Applications') AS a
    JOIN (
      SELECT id, sales_order_id FROM ref.invoice
      UNION ALL
      SELECT id, sales_order_id FROM ref.credit_memo
    ) AS d
      ON d.id IN (a->>'InvoiceID', a->>'CreditMemoID')) AS sales_order_id
FROM ref.payment p WHERE p.source = :us AND p.external_reference = ANY(CAST(:refs AS text[]))
