-- What the books of each month of :periods are made of, as a digest: sums of its lines by account and currency, from the
-- sums of each day. Two equal digests are the same books.
SELECT to_char(month, 'YYYY-MM') AS period,
       md5(string_agg(concat_ws('|', currency_code, account_code, round(debit, 2), round(credit, 2), lines), E'\n'
                      ORDER BY currency_code, account_code)) AS digest
FROM (
  SELECT p.month, s.currency_code, s.account_code, sum(s.debit) AS debit, sum(s.credit) AS credit, sum(s.lines) AS lines
  FROM (SELECT to_date(period, 'YYYY-MM') AS month FROM unnest(CAST(:periods AS text[])) AS period) p
  JOIN ref.ledger_day s ON s.posting_date BETWEEN p.month AND (p.month + interval '1 month - 1 day')::date
  GROUP BY 1, 2, 3
) sums
GROUP BY month
