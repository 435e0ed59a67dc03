-- Lines of a settlement after a place, each with the entry that it made and the payment that applied it.
SELECT l.position, l.line_no, l.kind, l.order_ref, l.sku, l.posted_at, l.amount, l.currency_code,
       (SELECT max(e.id) FROM ref.gl_entry e
        WHERE e.document_type = 'Settlement' AND e.document_id = l.source || ':' || l.settlement_id
          AND e.reversal_of IS NULL AND e.status = 'Posted'
          AND e.external_reference ~ '^(fee|dispute):'
          AND split_part(e.external_reference, ':', 4) = l.line_no) AS entry,
       (SELECT max(p.id) FROM ref.payment p
        WHERE p.external_reference = 'pay:' || l.source || ':' || l.settlement_id || ':'
              || coalesce(l.order_ref, '#' || l.line_no)) AS payment
FROM ref.settlement_line l
WHERE l.source = :source AND l.settlement_id = :settlement_id AND l.position > :after
  AND (CAST(:kind AS text) IS NULL OR l.kind = :kind)
ORDER BY l.position LIMIT :most
