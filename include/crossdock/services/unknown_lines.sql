-- Settlement lines that are booked as unknown: the marketplace's words with the format of the file, by settlement.
SELECT s.format, coalesce(l.transaction_type, '') AS transaction, coalesce(l.amount_type, '') AS kind,
       coalesce(l.amount_description, '') AS description, s.source, s.settlement_id, s.file, count(*) AS lines
FROM ref.settlement_line l
JOIN ref.settlement s ON s.source = l.source AND s.settlement_id = l.settlement_id
WHERE l.kind = 'unknown'
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6
LIMIT 5000
