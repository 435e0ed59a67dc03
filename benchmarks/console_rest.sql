-- What people and comparisons leave behind: approvals, reconciliations, more rows of the audit log.
INSERT INTO ops.approval (
  flow, key, target, site_id, from_price, to_price, cost, currency_code, why, state, asked_at, decided_at, decided_by
)
SELECT
  'prices', 'SKU-' || lpad((1 + n % :skus)::text, 6, '0'), n::text, 0, 10.00, 14.00 + n % 7, 5.00, 'GBP',
  CASE n % 3 WHEN 0 THEN 'The price rises by more than 30 percent.' ELSE 'The margin is below 10 percent.' END,
  CASE WHEN n <= :letters THEN 'open' WHEN n % 2 = 0 THEN 'approved' ELSE 'refused' END, now() - make_interval(mins => n),
  CASE WHEN n > :letters THEN now() END, CASE WHEN n > :letters THEN 'clerk' END
FROM generate_series(1, 4 * :letters) AS n;

INSERT INTO ops.reconcile_run (run_id, started_at, finished_at, counts, unexplained, report)
SELECT
  'reconcile/scheduled__' || n, now() - make_interval(days => 30 - n), now() - make_interval(days => 30 - n),
  (SELECT jsonb_object_agg(name, jsonb_build_object(
      'channel_advisor', :orders, 'tims', :orders, 'compared', :orders, 'equal', :orders - :letters, 'seconds', 60,
      'passed', 0, 'causes', jsonb_build_object('unexplained', 100, 'dead letter', :letters - 100)))
    FROM unnest(CAST(:subjects AS text[])) AS name),
  100, '<!doctype html><title>Reconciliation</title>' || repeat('<p>What differs, and why.</p>', 5000)
FROM generate_series(1, 30) AS n;

INSERT INTO ops.reconcile_difference (run, subject, key, field, missing, channel_advisor, tims, cause, why, since)
SELECT
  run.id, (CAST(:subjects AS text[]))[1 + n % cardinality(CAST(:subjects AS text[]))], (90000000 + n)::text, 'Total', '',
  '24.00', '25.00', CASE WHEN n <= 100 THEN 'unexplained' ELSE 'dead letter' END, 'Its letter is open.',
  now() - make_interval(mins => n)
FROM ops.reconcile_run AS run CROSS JOIN generate_series(1, :letters) AS n;

INSERT INTO ops.would_be (
  flow, idempotency_key, entity, operation, key, row, system, method, path, document, batch_id
)
SELECT
  'orders', 'so:' || n, 'sales_order', 'create', (90000000 + n)::text, (90000000 + n)::text, 'tims', 'POST',
  '/api/v1/sales-orders', '{"ExternalOrderID": "1", "TotalAmount": "24.00", "LineItems": [{"SKU": "A", "Quantity": 2}]}', 1
FROM generate_series(0, 20000) AS n;

INSERT INTO ops.shadow_day (flow, day, would_make, same, differ, only_ours, only_theirs, fields)
SELECT 'orders', CAST(now() AS date) - n, 2200, 2000, 100, 100, 50, '{"ShippingTaxAmount": 100}'
FROM generate_series(1, 60) AS n;

INSERT INTO ops.shadow_record (flow, day, name, key, verdict, matched_by, differences)
SELECT
  'orders', CAST(now() AS date) - 1 - n % 60, (90000000 + n)::text, (90000000 + n)::text,
  CASE WHEN n % 20 = 0 THEN 'differs' ELSE 'same' END, 'reference',
  CAST(CASE WHEN n % 20 = 0 THEN '[{"field": "ShippingTaxAmount", "ours": "1.20", "theirs": "0.00"}]' ELSE '[]' END AS jsonb)
FROM generate_series(1, 120000) AS n;

INSERT INTO ops.audit (at, who, action, subject, address)
SELECT
  now() - make_interval(mins => n), 'clerk ' || n % 40, (ARRAY['record open', 'dead-letter edit', 'price approve'])[1 + n % 3],
  n::text, '10.0.0.' || n % 200
FROM generate_series(1, :records / 2) AS n;

-- Letters that are closed, a replay of all open ones, an item's orders.
INSERT INTO ops.dead_letter (
  flow, entity, key, batch_id, step, reasons, payload, edited_payload, version, state, created_at, updated_at, note
)
SELECT
  'orders', 'sales_order', (80000000 + n)::text, 1, 'check', '[{"rule": "unknown_sku", "field": "OrderItems[0].SKU"}]',
  '{"TotalPrice": 24.00, "Currency": "GBP"}', CASE WHEN n % 2 = 0 THEN jsonb '{"TotalPrice": 25.00}' END, now(),
  (ARRAY['replayed', 'resolved', 'dismissed'])[1 + n % 3], now() - make_interval(mins => n),
  now() - make_interval(mins => n), 'A test order.'
FROM generate_series(1, 4 * :letters) AS n;

INSERT INTO ops.audit (id, who, action, subject, detail, at)
VALUES (900000000, 'clerk', 'replay', 'all', jsonb_build_object('letters', :letters), now());

INSERT INTO ops.audit (who, action, subject, at)
SELECT 'clerk', 'dead-letter replay', letter.id::text, now()
FROM ops.dead_letter AS letter
WHERE letter.state = 'open';

INSERT INTO stage.sales_order_line (key, position, "SKU", "Quantity", "Price")
SELECT (90000000 + n)::text, 0, 'SKU-' || lpad((1 + n % :skus)::text, 6, '0'), 2, 10.00
FROM generate_series(1, :orders) AS n;

-- Events: as many as there are records, eight a second in the last hour; each hundredth one waits.
INSERT INTO ops.webhook_event (
  system, event_id, flow, event_type, key, occurred_at, received_at, taken_at, worked_at, run_id, times
)
SELECT
  CASE WHEN n % 10 < 6 THEN 'channel_advisor' ELSE 'tims' END, 'evt_' || n,
  (ARRAY['orders', 'orders', 'orders', 'orders', 'orders', 'returns', 'shipments', 'inventory', 'catalog', 'holds'])[1 + n % 10],
  'OrderUpdated', (90000000 + n / 8)::text, at - interval '400 ms', at,
  CASE WHEN n % 100 > 0 THEN at + interval '200 ms' END, CASE WHEN n % 100 > 0 THEN at + interval '1200 ms' END,
  'scheduled__1', 1
FROM (SELECT n, now() - make_interval(secs => n / 8 + 0.8) AS at FROM generate_series(1, :records) AS n) AS events;
