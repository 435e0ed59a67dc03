-- Every line of every entry from :first to :until, with the name of its account.
SELECT e.id AS entry, e.external_reference AS key, e.posting_date, e.original_event_date, e.period, e.document_type,
       e.document_id, e.status, e.reversal_of, e.payload->>'Description' AS description, e.currency_code, l.line_no,
       l.account_code, a.name AS account, a.type, l.debit, l.credit, l.channel, l.sku, l.order_id
FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id LEFT JOIN ref.account a ON a.id = l.account_code
WHERE e.posting_date BETWEEN :first AND :until ORDER BY e.posting_date, e.id, l.line_no
