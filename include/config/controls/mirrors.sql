-- A reversed entry and its mirror add up to 0 on every account, and each has one mirror.
-- do: Tell TIMS's support: a mirror that is none was made by TIMS itself.
WITH pair AS (
  SELECT old.id, count(DISTINCT mirror.id) AS mirrors,
         (SELECT max(abs(amount)) FROM (
            SELECT sum(l.debit - l.credit) AS amount FROM ref.gl_entry_line l
            WHERE l.entry_id = old.id OR l.entry_id = ANY(array_agg(mirror.id)) GROUP BY l.account_code) rest) AS rest
  FROM ref.gl_entry old LEFT JOIN ref.gl_entry mirror ON mirror.reversal_of = old.id
  WHERE old.status = 'Reversed' AND old.posting_date <= :period_end
  GROUP BY old.id
)
SELECT 'mirrors' AS subject, count(*) AS expected, count(*) FILTER (WHERE mirrors = 1 AND rest = 0) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE mirrors <> 1 OR rest <> 0) AS documents
FROM pair
