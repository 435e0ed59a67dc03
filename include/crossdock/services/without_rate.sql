-- Lines of profit and tax whose currency has no rate on their day.
SELECT e.currency_code, count(*) AS lines
FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
WHERE e.posting_date BETWEEN :first AND :until AND l.account_code = ANY(CAST(:codes AS text[]))
  AND NOT EXISTS (
    SELECT FROM unnest(CAST(:currencies AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[])) AS r (currency, start, until)
    WHERE r.currency = e.currency_code AND e.posting_date BETWEEN r.start AND r.until)
GROUP BY e.currency_code ORDER BY e.currency_code
