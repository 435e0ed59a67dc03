-- The trial balance of each currency is 0: all debits less all credits since the ledger began.
-- do: See the control entries_balance: it names the entry that is to blame.
SELECT e.currency_code AS subject, 0.00 AS expected, sum(l.debit - l.credit) AS actual, NULL::text[] AS documents
FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
WHERE e.posting_date <= :period_end
GROUP BY 1
