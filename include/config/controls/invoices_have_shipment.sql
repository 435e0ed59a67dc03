-- Every invoice names its shipment: without one nobody knows what its goods cost, and the cost is not posted.
-- do: Void the invoice in TIMS; its shipment is then invoiced as it should be.
SELECT currency_code AS subject, count(*) AS expected, count(shipment_id) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE shipment_id IS NULL) AS documents
FROM ref.invoice
WHERE posting_mode = 'external' AND status <> 'Voided' AND posting_date <= :period_end
GROUP BY 1
