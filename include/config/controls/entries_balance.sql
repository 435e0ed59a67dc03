-- Every entry balances: debit = credit in its one currency.
-- do: Reverse the entry in TIMS and post it right; find out how TIMS could take it.
SELECT e.currency_code AS subject, sum(s.debit) AS expected, sum(s.credit) AS actual,
       array_agg(e.id ORDER BY e.id) FILTER (WHERE s.debit <> s.credit) AS documents
FROM ref.gl_entry e
JOIN LATERAL (SELECT sum(debit) AS debit, sum(credit) AS credit FROM ref.gl_entry_line l WHERE l.entry_id = e.id) s ON true
WHERE e.posting_date <= :period_end
GROUP BY 1
