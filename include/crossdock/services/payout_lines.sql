-- Lines of a settlement after a place, each with the entry that it made and the payment that applied it. Entries of the
-- settlement are read once, not for each line.
WITH line AS MATERIALIZED (
  SELECT * FROM ref.settlement_line
  WHERE source = :source AND settlement_id = :settlement_id AND position > :after
    AND (CAST(:kind AS text) IS NULL OR kind = :kind)
  ORDER BY position LIMIT :most
), entry AS MATERIALIZED (
  SELECT split_part(external_reference, ':', 4) AS line_no, max(id) AS id FROM ref.gl_entry
  WHERE document_type = 'Settlement' AND document_id = CAST(:source AS text) || ':' || CAST(:settlement_id AS text)
    AND reversal_of IS NULL AND status = 'Posted' AND external_reference ~ '^(fee|dispute):'
    AND split_part(external_reference, ':', 4) IN (SELECT line_no FROM line)
  GROUP BY 1
)
SELECT l.position, l.line_no, l.kind, l.order_ref, l.sku, l.posted_at, l.amount, l.currency_code, entry.id AS entry,
       (SELECT max(p.id) FROM ref.payment p
        WHERE p.external_reference = 'pay:' || l.source || ':' || l.settlement_id || ':'
              || coalesce(l.order_ref, '#' || l.line_no)) AS payment
FROM line l LEFT JOIN entry ON entry.line_no = l.line_no
ORDER BY l.position
