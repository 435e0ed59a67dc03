-- Lines of profit and tax whose currency has no rate on their day.
SELECT s.currency_code, CAST(sum(s.lines) AS bigint) AS lines
FROM ref.ledger_day s
WHERE s.posting_date BETWEEN :first AND :until AND s.account_code = ANY(CAST(:codes AS text[]))
  AND NOT EXISTS (
    SELECT FROM unnest(CAST(:currencies AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[])) AS r (currency, start, until)
    WHERE r.currency = s.currency_code AND s.posting_date BETWEEN r.start AND r.until)
GROUP BY s.currency_code ORDER BY s.currency_code
