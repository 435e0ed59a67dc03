-- The settlements of a span (by the day of their entry, else of their deposit or end; if :by_end, by the day on which they
-- end), all or of a source, or one: each with the sum of its lines, its orders and entries, and what was booked on the bank
-- account. :bank are codes of that account.
WITH settlement AS (
  SELECT s.*, coalesce(
           (SELECT min(e.posting_date) FROM ref.gl_entry e
            WHERE e.external_reference = 'transfer:' || s.source || ':' || s.settlement_id AND e.reversal_of IS NULL),
           (coalesce(s.deposit_at, s.end_at) AT TIME ZONE c.time_zone)::date) AS day,
         (coalesce(s.end_at, s.deposit_at) AT TIME ZONE c.time_zone)::date AS ends
  FROM ref.settlement s CROSS JOIN ref.company c
  WHERE (CAST(:source AS text) IS NULL OR s.source = :source)
    AND (CAST(:settlement_id AS text) IS NULL OR s.settlement_id = :settlement_id)
)
SELECT s.source, s.settlement_id, s.channel, s.file, s.currency_code, s.start_at, s.end_at, s.deposit_at, s.day, s.total,
       l.lines, l.total AS lines_total, l.orders, e.entries, d.entry AS deposit_entry, d.amount AS deposited,
       d.currency_code AS deposit_currency
FROM settlement s
CROSS JOIN LATERAL (
  SELECT count(*) AS lines, coalesce(sum(amount), 0) AS total, count(DISTINCT order_ref) AS orders
  FROM ref.settlement_line WHERE source = s.source AND settlement_id = s.settlement_id
) l
CROSS JOIN LATERAL (
  SELECT count(*) AS entries FROM ref.gl_entry
  WHERE document_type = 'Settlement' AND document_id = s.source || ':' || s.settlement_id
) e
LEFT JOIN LATERAL (
  SELECT max(g.id) FILTER (WHERE g.reversal_of IS NULL AND g.status = 'Posted') AS entry, g.currency_code,
         sum(gl.debit - gl.credit) AS amount
  FROM ref.gl_entry g JOIN ref.gl_entry_line gl ON gl.entry_id = g.id AND gl.account_code = ANY(CAST(:bank AS text[]))
  LEFT JOIN ref.gl_entry old ON old.id = g.reversal_of
  WHERE g.document_type = 'Settlement' AND g.document_id = s.source || ':' || s.settlement_id
    AND coalesce(old.external_reference, g.external_reference) ~ '^(transfer|fx):'
  GROUP BY g.currency_code HAVING sum(gl.debit - gl.credit) <> 0
  ORDER BY entry DESC LIMIT 1
) d ON true
WHERE CAST(:first AS date) IS NULL OR CASE WHEN :by_end THEN s.ends ELSE s.day END BETWEEN :first AND :until
ORDER BY s.day, s.source, s.settlement_id
