-- The lines of settlements that are not an order's own money, JSON by include/contracts/crossdock.yaml; what
-- once was something else, whatever it is now; the payout itself; and chargebacks that are lost, whatever the window:
-- nobody books when an accountant decides, and there are few. Settlements have the bank's own dates and amounts, where
-- payout_deposits.csv gives them.
WITH bank AS (
  SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[]), CAST(:dates AS text[]),
                       CAST(:currencies AS text[]), CAST(:amounts AS text[]))
    AS b (source, settlement_id, value_date, currency, amount)
), settlement AS (
  SELECT s.*, coalesce((nullif(b.value_date, '') || 'T12:00:00Z')::timestamptz, s.deposit_at, s.end_at) AS value_at,
         nullif(b.currency, '') AS bank_currency, nullif(b.amount, '')::numeric AS bank_amount
  FROM ref.settlement s LEFT JOIN bank b USING (source, settlement_id)
), line AS (
  SELECT l.source, l.settlement_id, l.line_no, s.channel, l.kind, l.transaction_type, l.amount_type,
         l.amount_description, l.order_ref, l.sales_order_id, l.sku, l.amount, l.currency_code, l.posted_at,
         NULL::text AS bank_currency, NULL::numeric AS bank_amount, l.booked_at, l.position
  FROM ref.settlement_line l JOIN settlement s USING (source, settlement_id)
  WHERE l.kind <> ALL(:own) OR l.former_kind IS NOT NULL
  UNION ALL
  SELECT source, settlement_id, 'transfer', channel, 'payout', NULL, NULL, NULL, NULL, NULL, NULL, total, currency_code,
         value_at, bank_currency, bank_amount, booked_at, -1
  FROM settlement
), lost AS (
  SELECT l.source, l.settlement_id, l.line_no || ':' || 'lost' AS line_no, l.channel, 'chargeback_lost' AS kind,
         l.transaction_type, l.amount_type, l.amount_description, l.order_ref, l.sales_order_id, l.sku, l.amount,
         l.currency_code, (d.decided_on || 'T12:00:00Z')::timestamptz AS posted_at, l.bank_currency, l.bank_amount,
         l.booked_at, l.position
  FROM line l JOIN unnest(CAST(:lost_sources AS text[]), CAST(:lost_ids AS text[]), CAST(:lost_lines AS text[]),
                          CAST(:lost_dates AS text[])) AS d (source, settlement_id, line_no, decided_on)
    USING (source, settlement_id, line_no)
  WHERE l.kind = 'chargeback'
)
SELECT json_strip_nulls(json_build_object(
  'Source', p.source, 'SettlementID', p.settlement_id, 'LineNo', p.line_no, 'Channel', p.channel, 'Kind', p.kind,
  'TransactionType', p.transaction_type, 'AmountType', p.amount_type, 'AmountDescription', p.amount_description,
  'OrderRef', p.order_ref, 'SalesOrderID', p.sales_order_id, 'SKU', p.sku, 'Amount', p.amount,
  'CurrencyCode', p.currency_code, 'PostedAt', to_char(timezone('UTC', p.posted_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'BankCurrencyCode', p.bank_currency, 'BankAmount', p.bank_amount,
  'BookedAt', to_char(timezone('UTC', p.booked_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::text
FROM (
  SELECT * FROM line
  WHERE (CAST(:booked_since AS timestamptz) IS NULL OR booked_at >= :booked_since)
    AND (CAST(:booked_before AS timestamptz) IS NULL OR booked_at < :booked_before)
    AND (CAST(:posted_since AS timestamptz) IS NULL OR posted_at >= :posted_since)
    AND (CAST(:posted_before AS timestamptz) IS NULL OR posted_at < :posted_before)
    AND (CAST(:source AS text) IS NULL OR source = :source AND starts_with(:rest, settlement_id || ':'))
  UNION ALL
  SELECT * FROM lost
) p
WHERE :key IN ('', p.source || ':' || p.settlement_id || ':' || p.line_no)
ORDER BY p.booked_at, p.source, p.settlement_id, p.position
