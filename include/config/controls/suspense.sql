-- Nothing is left in Suspense: every line of a settlement is of a kind that we know.
-- do: Add the combination to config/lookups/settlement_kinds.csv and work the file again: `crossdock sync payouts --key SOURCE/FILE`, then `crossdock sync ledger_settlements`.
WITH entry AS (
  SELECT e.currency_code, regexp_replace(coalesce(old.external_reference, e.external_reference), ':v\d+$', '') AS key, sum(l.debit - l.credit) AS amount
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
  LEFT JOIN ref.gl_entry old ON old.id = e.reversal_of  -- a mirror counts with its original
  JOIN ref.account_name n ON n.code = l.account_code AND n.name = 'Suspense'
  WHERE e.posting_date <= :period_end
  GROUP BY 1, 2
)
SELECT c.currency_code AS subject, 0.00 AS expected, coalesce(sum(amount), 0.00) AS actual,
       array_agg(key ORDER BY key) FILTER (WHERE amount <> 0) AS documents
FROM (SELECT DISTINCT currency_code FROM ref.gl_entry WHERE posting_date <= :period_end) AS c  -- also where nothing is in it
LEFT JOIN entry USING (currency_code) GROUP BY 1
