-- The sums of the ledger that the pages show are those of its lines, by day, currency, account and channel.
-- do: Somebody has changed a sum by hand: add all of them up again with `SELECT ref.fill_sums()` in psql.
WITH of_lines AS (
  SELECT e.currency_code, e.posting_date, l.account_code, ref.brief(l.channel) AS channel, sum(l.debit) AS debit,
         sum(l.credit) AS credit, count(*) AS lines
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
  WHERE e.posting_date <= :period_end
  GROUP BY 1, 2, 3, 4
), of_days AS (
  SELECT * FROM ref.ledger_day WHERE posting_date <= :period_end
), of_skus AS (
  SELECT currency_code, posting_date, account_code, channel, sum(debit) AS debit, sum(credit) AS credit,
         sum(lines) AS lines
  FROM ref.ledger_sku_day WHERE posting_date <= :period_end GROUP BY 1, 2, 3, 4
), compared AS (
  SELECT currency_code, account_code || ' of ' || posting_date AS place,
         coalesce(of_lines.debit + of_lines.credit, 0) AS expected,
         coalesce(of_days.debit + of_days.credit, 0) AS actual,
         coalesce(of_lines.debit, 0) <> coalesce(of_days.debit, 0) OR coalesce(of_lines.debit, 0) <> coalesce(of_skus.debit, 0)
         OR coalesce(of_lines.credit, 0) <> coalesce(of_days.credit, 0) OR coalesce(of_lines.credit, 0) <> coalesce(of_skus.credit, 0)
         OR coalesce(of_lines.lines, 0) <> coalesce(of_days.lines, 0) OR coalesce(of_lines.lines, 0) <> coalesce(of_skus.lines, 0) AS differs
  FROM of_lines
  FULL JOIN of_days USING (currency_code, posting_date, account_code, channel)
  FULL JOIN of_skus USING (currency_code, posting_date, account_code, channel)
)
SELECT currency_code AS subject, sum(expected) AS expected, sum(actual) AS actual,
       array_agg(place ORDER BY place) FILTER (WHERE differs) AS documents
FROM compared GROUP BY 1
