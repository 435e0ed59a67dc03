-- What the books up to the end of each month of :periods are made of, as a digest: sums of their lines by month, account
-- and currency, from the sums of each day. Two equal digests are the same books, opening balances included.
WITH wanted AS (
  SELECT period, to_date(period, 'YYYY-MM') AS month FROM unnest(CAST(:periods AS text[])) AS period
), sums AS (
  SELECT date_trunc('month', posting_date)::date AS month, currency_code, account_code,
         round(sum(debit), 2) AS debit, round(sum(credit), 2) AS credit, sum(lines) AS lines
  FROM ref.ledger_day
  WHERE posting_date < (SELECT max(month) + interval '1 month' FROM wanted)
  GROUP BY 1, 2, 3
), months AS (
  SELECT month, md5(string_agg(concat_ws('|', month, currency_code, account_code, debit, credit, lines), E'\n'
                               ORDER BY currency_code, account_code)) AS digest
  FROM sums GROUP BY month
)
SELECT w.period, md5(string_agg(m.digest, E'\n' ORDER BY m.month)) AS digest
FROM wanted w JOIN months m ON m.month <= w.month
GROUP BY w.period
