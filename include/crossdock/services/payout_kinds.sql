-- The lines of a settlement by kind.
SELECT kind, count(*) AS lines, sum(amount) AS amount FROM ref.settlement_line
WHERE source = :source AND settlement_id = :settlement_id GROUP BY kind ORDER BY kind
