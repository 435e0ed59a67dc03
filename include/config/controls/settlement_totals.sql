-- The total of a settlement is the sum of its lines.
-- do: Compare the settlement with its file (in done/ of its source's folder); nothing may change in the books by hand.
SELECT s.currency_code AS subject, sum(s.total) AS expected, coalesce(sum(l.amount), 0.00) AS actual,
       array_agg(s.source || ':' || s.settlement_id ORDER BY 1) FILTER (WHERE s.total <> coalesce(l.amount, 0)) AS documents
FROM ref.settlement s
LEFT JOIN (SELECT source, settlement_id, sum(amount) AS amount FROM ref.settlement_line GROUP BY 1, 2) l USING (source, settlement_id)
GROUP BY 1
