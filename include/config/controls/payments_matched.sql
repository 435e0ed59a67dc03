-- Every payment that TIMS leaves to us to post belongs to a settlement in our books: nobody else's money is in Clearing.
-- do: Find out whose payment it is. If it came with no settlement, reverse it in TIMS and enter it as one that TIMS posts by itself.
WITH payment AS (
  SELECT p.id, p.currency_code, p.source = 'Crossdock' AND EXISTS (
           SELECT FROM ref.settlement_line l
           WHERE p.external_reference = 'pay:' || l.source || ':' || l.settlement_id || ':' || coalesce(l.order_ref, '#' || l.line_no)
         ) AS matched
  FROM ref.payment p
  WHERE p.posting_mode = 'external' AND p.status <> 'Reversed' AND p.posting_date <= :period_end
)
SELECT currency_code AS subject, count(*) AS expected, count(*) FILTER (WHERE matched) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE NOT matched) AS documents
FROM payment GROUP BY 1
