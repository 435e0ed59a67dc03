-- A database of a large shop: :orders orders, :skus SKUs (each an item and a quantity), :letters open dead letters.
SET LOCAL synchronous_commit = off;
SET LOCAL maintenance_work_mem = '256MB';

INSERT INTO raw.channel_advisor_orders (key, version, hash, payload)
SELECT
  (90000000 + n)::text,
  now() - make_interval(mins => n),
  'h',
  jsonb_build_object(
    'ChannelAdvisorOrderID', 90000000 + n, 'OrderID', 'A-' || (90000000 + n), 'SiteID', 641, 'ProfileID', 12345678,
    'SiteName', 'Amazon Seller Central - UK', 'OrderStatus', 'New', 'PaymentStatus', 'Cleared', 'Currency', 'GBP',
    'TotalPrice', 24.00, 'OrderDate', now() - make_interval(mins => n), 'UpdatedDate', now() - make_interval(mins => n),
    'CustomerInfo', jsonb_build_object('CustomerID', 'b' || n, 'FirstName', 'Ada', 'LastName', 'Miller'),
    'OrderItems', jsonb_build_array(jsonb_build_object(
      'OrderItemID', n, 'Quantity', 2, 'UnitPrice', 10.00, 'TaxAmount', 4.00,
      'SKU', CASE WHEN n <= :letters AND n % 2 = 0 THEN 'X-' || n % 40
        ELSE 'SKU-' || lpad((1 + n % :skus)::text, 6, '0') END
    )),
    'OrderItemCount', 1
  )
FROM generate_series(1, :orders) AS n;

INSERT INTO raw.tims_items (key, version, hash, payload)
SELECT
  'SKU-' || lpad(n::text, 6, '0'), now() - make_interval(mins => n), 'h',
  jsonb_build_object('SKU', 'SKU-' || lpad(n::text, 6, '0'), 'Title', 'Lamp ' || n, 'Status', 'Active',
    'Type', 'Inventory', 'Cost', '5.00', 'ListPrice', '12.00', 'CurrencyCode', 'GBP')
FROM generate_series(1, :skus) AS n;

INSERT INTO raw.tims_quantities (key, version, hash, payload)
SELECT
  'SKU-' || lpad(n::text, 6, '0'), now() - make_interval(mins => n), 'h',
  jsonb_build_object('SKU', 'SKU-' || lpad(n::text, 6, '0'), 'Locations', jsonb_build_array(), 'RowVersion', 1)
FROM generate_series(1, :skus) AS n;

-- Batches of 2,000, the last records in the last ones: of orders one every half an hour, so that 48 are of one day.
INSERT INTO ops.batch (flow, kind, run_id, step, read, delivered, created_at, touched_at, finished_at)
SELECT
  'orders', 'scheduled', 'orders/scheduled__' || n, 'confirm', 2000, 2000,
  now() - make_interval(mins => 30 * n + 2), now() - make_interval(mins => 30 * n), now() - make_interval(mins => 30 * n)
FROM generate_series(1 + :orders / 2000, 1, -1) AS n
ORDER BY n DESC;

INSERT INTO ops.batch (flow, kind, run_id, step, read, delivered, created_at, touched_at, finished_at)
SELECT
  flow, 'scheduled', flow || '/scheduled__' || n, 'confirm', 2000, 2000,
  now() - make_interval(mins => 15 * n + 2), now() - make_interval(mins => 15 * n), now() - make_interval(mins => 15 * n)
FROM generate_series(1, 1 + :skus / 2000) AS n, unnest(ARRAY['inventory', 'prices', 'catalog']) AS flow;

INSERT INTO ops.work (queue, key, hash, batch_id, queued_at)
SELECT 'orders', (90000000 + n)::text, 'h', 1 + :orders / 2000 - n / 2000, now() - make_interval(mins => n)
FROM generate_series(1, :orders) AS n;

INSERT INTO ops.work (queue, key, hash, batch_id, queued_at)
SELECT
  own.flow, 'SKU-' || lpad(n::text, 6, '0'), 'h', own.first_id + n / 2000 * 3, now() - make_interval(mins => n)
FROM generate_series(1, :skus) AS n
CROSS JOIN (
  SELECT batch.flow, min(batch.id) AS first_id
  FROM ops.batch
  WHERE batch.flow <> 'orders'
  GROUP BY batch.flow
) AS own;

INSERT INTO stage.sales_order (
  key, batch_id, version, state, reason, "TotalAmount", "CurrencyCode", "CustomerID", "Channel", marketplace_order_id
)
SELECT
  (90000000 + n)::text, 1 + :orders / 2000 - n / 2000, now() - make_interval(mins => n),
  CASE WHEN n <= :letters THEN 'dead' WHEN n % 500 = 0 THEN 'waiting' WHEN n % 50 = 1 THEN 'would_be' ELSE 'delivered' END,
  CASE WHEN n % 500 = 0 THEN 'its customer is on the way' END, 24.00, 'GBP', 'C-' || (n % 1000), 'Amazon UK',
  'A-' || (90000000 + n)
FROM generate_series(1, :orders) AS n;

INSERT INTO stage.channel_quantity (key, batch_id, version, state, available, quantity)
SELECT
  'SKU-' || lpad(n::text, 6, '0'),
  (SELECT min(id) FROM ops.batch WHERE flow = 'inventory') + n / 2000 * 3, now() - make_interval(mins => n),
  'delivered', 10, 8
FROM generate_series(1, :skus) AS n;

INSERT INTO ops.link (entity, source_key, target_id, other_key, version)
SELECT
  'sales_order', (90000000 + n)::text, 'SO-' || (90000000 + n), 'A-' || (90000000 + n), now() - make_interval(mins => n)
FROM generate_series(:letters + 1, :orders) AS n;

INSERT INTO ref.sales_order (id, external_order_id, source, channel, currency_code, status, payload, version)
SELECT
  'SO-' || (90000000 + n), (90000000 + n)::text, 'ChannelAdvisor', 'Amazon UK', 'GBP', 'Open',
  jsonb_build_object('SalesOrderID', 'SO-' || (90000000 + n), 'CustomerID', 'C-' || (n % 1000), 'TotalAmount', '24.00'),
  now() - make_interval(mins => n)
FROM generate_series(:letters + 1, :orders) AS n;

INSERT INTO ops.delivery (
  flow, batch_id, entity, operation, key, idempotency_key, outcome, status, response_id, created_at, sent_at, done_at
)
SELECT
  'orders', 1 + :orders / 2000 - n / 2000, 'sales_order', 'create', (90000000 + n)::text, 'so-' || n, 'confirmed', 201,
  'SO-' || (90000000 + n), now() - make_interval(secs => n), now() - make_interval(secs => n),
  now() - make_interval(secs => n)
FROM generate_series(:letters + 1, :orders) AS n;

INSERT INTO ops.delivery (
  flow, batch_id, entity, operation, key, idempotency_key, outcome, status, created_at, sent_at, done_at
)
SELECT
  'inventory', (SELECT min(id) FROM ops.batch WHERE flow = 'inventory') + n / 2000 * 3, 'channel_quantity', 'update',
  'SKU-' || lpad(n::text, 6, '0'), 'q-' || n, 'confirmed', 200, now() - make_interval(secs => n),
  now() - make_interval(secs => n), now() - make_interval(secs => n)
FROM generate_series(1, :skus) AS n;

INSERT INTO ref.item (sku, status, type, kit_components, cost, list_price, currency_code, title, version)
SELECT
  'SKU-' || lpad(n::text, 6, '0'), 'Active', 'Inventory', '[]', 5.00, 12.00, 'GBP', 'Lamp ' || n, now()
FROM generate_series(1, :skus) AS n;

INSERT INTO ref.item_code (code, folded, kind, sku)
SELECT
  'SKU-' || lpad(n::text, 6, '0'), 'sku-' || lpad(n::text, 6, '0'), 'sku', 'SKU-' || lpad(n::text, 6, '0')
FROM generate_series(1, :skus) AS n;

INSERT INTO ref.channel_product (sku, folded, product_id, type, payload, version)
SELECT
  'SKU-' || lpad(n::text, 6, '0'), 'sku-' || lpad(n::text, 6, '0'), n, 'Item',
  jsonb_build_object('SKU', 'SKU-' || lpad(n::text, 6, '0')), now()
FROM generate_series(1, :skus) AS n;

INSERT INTO ops.dead_letter (flow, entity, key, batch_id, step, reasons, payload, version, created_at)
SELECT
  'orders', 'sales_order', o.key, 1 + :orders / 2000, 'check',
  jsonb_build_array(jsonb_build_object(
    'rule', CASE WHEN n % 2 = 0 THEN 'unknown_sku' ELSE 'unknown_code' END, 'field', 'OrderItems[0].SKU', 'line', '',
    'value', 'X-' || (n % 40), 'says', 'TIMS has no item X-' || (n % 40) || '.', 'do', 'Create it in TIMS, then replay.'
  )),
  o.payload, o.version, now() - make_interval(mins => n)
FROM generate_series(1, :letters) AS n
INNER JOIN raw.channel_advisor_orders AS o ON o.key = (90000000 + n)::text;

INSERT INTO ops.watermark (flow, resource, position, newest_version, read_at)
VALUES
('orders', 'channel_advisor.orders', now(), now(), now()),
('inventory', 'tims.inventory/quantities', now(), now(), now());

INSERT INTO ops.alert (kind, key, severity, title, body, flow)
SELECT 'stale', 'k' || n, 'alert', 'Orders: nothing has been read for ' || n || ' min', 'Look at the DAG.', 'orders'
FROM generate_series(1, 200) AS n;

INSERT INTO ops.audit (who, action, subject)
SELECT 'clerk', 'dead-letter open', n::text
FROM generate_series(1, 10 * :letters) AS n;
