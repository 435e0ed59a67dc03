-- Books the lines of a settlement. An order is found by channel and marketplace's number; a number of two orders finds
-- neither.
WITH known AS (
  SELECT l.ref, min(k.target_id) AS sales_order_id
  FROM (SELECT DISTINCT unnest(ARRAY["OrderRef", "MerchantOrderRef"]) AS ref
        FROM stage.settlement_line WHERE key = :key) AS l
  JOIN ops.link k ON k.entity = 'sales_order' AND l.ref IN (k.other_key, k.source_key)
  JOIN stage.sales_order o ON o.key = k.source_key
  JOIN stage.settlement s ON s.key = :key AND s."Channel" = o."Channel"
  GROUP BY l.ref HAVING count(DISTINCT k.target_id) = 1
)
INSERT INTO ref.settlement_line (source, settlement_id, line_no, position, kind, transaction_type, amount_type,
  amount_description, order_ref, merchant_order_ref, sku, amount, currency_code, posted_at, sales_order_id)
SELECT s."Source", s."SettlementID", l."LineNo", l.position, l."Kind", l."TransactionType", l."AmountType",
       l."AmountDescription", l."OrderRef", l."MerchantOrderRef", l."SKU", l."Amount", s."CurrencyCode",
       l."PostedAt"::timestamptz, coalesce(a.sales_order_id, b.sales_order_id)
FROM stage.settlement s JOIN stage.settlement_line l USING (key)
LEFT JOIN known a ON a.ref = l."OrderRef"
LEFT JOIN known b ON b.ref = l."MerchantOrderRef"
WHERE s.key = :key
