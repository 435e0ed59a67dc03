-- What settlements say of orders, JSON by include/contracts/crossdock.yaml: all parts of which one line was
-- booked or posted in the window, or the one of :key. Settlements have the bank's own dates and amounts, where
-- payout_deposits.csv gives them.
WITH bank AS (
  SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[]), CAST(:dates AS text[]),
                       CAST(:currencies AS text[]), CAST(:amounts AS text[]))
    AS b (source, settlement_id, value_date, currency, amount)
), settlement AS (
  SELECT s.*, coalesce((nullif(b.value_date, '') || 'T12:00:00Z')::timestamptz, s.deposit_at, s.end_at) AS value_at,
         nullif(b.currency, '') AS bank_currency, nullif(b.amount, '')::numeric AS bank_amount
  FROM ref.settlement s LEFT JOIN bank b USING (source, settlement_id)
), line AS NOT MATERIALIZED (
  SELECT *, (CAST(:booked_since AS timestamptz) IS NULL OR booked_at >= :booked_since)
    AND (CAST(:booked_before AS timestamptz) IS NULL OR booked_at < :booked_before)
    AND (CAST(:posted_since AS timestamptz) IS NULL OR posted_at >= :posted_since)
    AND (CAST(:posted_before AS timestamptz) IS NULL OR posted_at < :posted_before)
    AND (CAST(:source AS text) IS NULL OR source = :source AND starts_with(:rest, settlement_id || ':')) AS wanted
  FROM ref.settlement_line
), part AS (
  SELECT source, settlement_id, coalesce(order_ref, '#' || line_no) AS name, min(order_ref) AS order_ref,
         min(merchant_order_ref) AS merchant_order_ref,
         coalesce(sum(amount) FILTER (WHERE kind = ANY(:sales)), 0) AS sale,
         coalesce(sum(amount) FILTER (WHERE kind = ANY(:own) AND kind <> ALL(:sales)), 0) AS refund,
         count(*) FILTER (WHERE kind = ANY(:sales)) AS sale_lines,
         count(*) FILTER (WHERE kind = ANY(:own) AND kind <> ALL(:sales)) AS refund_lines,
         max(posted_at) AS posted_at, max(booked_at) AS booked_at
  FROM line
  WHERE (kind = ANY(:own) OR former_kind = ANY(:own))
    AND (source, settlement_id) IN (SELECT source, settlement_id FROM line WHERE wanted)
  GROUP BY 1, 2, 3 HAVING bool_or(wanted)
)
SELECT json_strip_nulls(json_build_object(
  'Key', p.source || ':' || p.settlement_id || ':' || p.name, 'Source', p.source, 'SettlementID', p.settlement_id,
  'Channel', s.channel, 'OrderRef', p.order_ref, 'MerchantOrderRef', p.merchant_order_ref,
  'CurrencyCode', s.currency_code, 'SaleAmount', p.sale, 'RefundAmount', p.refund, 'SaleLines', p.sale_lines,
  'RefundLines', p.refund_lines,
  'PostedAt', to_char(timezone('UTC', p.posted_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'DepositDate', to_char(timezone('UTC', s.value_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'BookedAt', to_char(timezone('UTC', p.booked_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'ApplyTo', json_build_array()))::text
FROM part p JOIN settlement s USING (source, settlement_id)
WHERE :key IN ('', p.source || ':' || p.settlement_id || ':' || p.name)
ORDER BY p.booked_at, p.source, p.name
