-- The books of a large shop: of :sales orders the invoice, its entries (sale, cost of goods) and its part of a settlement
-- with the entry of its fee, seven lines of entries in all; closes, open items, and what else the pages of money show.
-- They are spread over the last :days days, and over settlements of :settled orders.
SET LOCAL synchronous_commit = off;
SET LOCAL maintenance_work_mem = '256MB';

INSERT INTO ref.company (id, time_zone, base_currency, payload, version)
VALUES ('company', 'Europe/London', 'GBP', '{}', now());

INSERT INTO ref.account (id, name, type, blocked, payload, version)
SELECT code, name, type, false, '{}', now()
FROM (
  VALUES ('1000', 'Bank', 'Asset'), ('1100', 'Marketplace clearing', 'Asset'), ('1200', 'Inventory', 'Asset'),
  ('2200', 'Sales tax', 'Liability'), ('4000', 'Sales', 'Revenue'), ('4100', 'Promotions', 'Revenue'),
  ('4200', 'Returns', 'Revenue'), ('5000', 'Cost of goods sold', 'Expense'), ('6100', 'Commission', 'Expense'),
  ('6190', 'Suspense', 'Expense'), ('6900', 'Rounding', 'Expense')
) AS chart (code, name, type);

INSERT INTO ref.account_name (name, code)
VALUES ('Bank', '1000'), ('Clearing', '1100'), ('Inventory', '1200'), ('SalesTax', '2200'), ('Revenue', '4000'),
('COGS', '5000'), ('Commission', '6100');

INSERT INTO ref.period (id, start_date, end_date, status, payload, version)
SELECT
  to_char(first, 'YYYY-MM'), first::date, (first + interval '1 month' - interval '1 day')::date, 'Open', '{}', now()
FROM generate_series(date_trunc('month', now()) - interval '1 year', now(), interval '1 month') AS first;

CREATE TEMP TABLE sale ON COMMIT DROP AS
SELECT
  n, (90000000 + n)::text AS number, 'SO-' || (90000000 + n) AS sales_order, 'INV-' || (90000000 + n) AS invoice,
  (now() - n * make_interval(days => :days) / :sales)::date AS day,
  now() - n * make_interval(days => :days) / :sales AS at,
  'SKU-' || lpad((1 + n % :skus)::text, 6, '0') AS sku,
  CASE n % 4 WHEN 0 THEN 'Amazon US' WHEN 1 THEN 'Amazon DE' ELSE 'Amazon UK' END AS channel,
  CASE n % 4 WHEN 0 THEN 'amazon_us' WHEN 1 THEN 'amazon_de' ELSE 'amazon_uk' END AS source,
  CASE n % 4 WHEN 0 THEN 'USD' WHEN 1 THEN 'EUR' ELSE 'GBP' END AS currency,
  'S' || n / :settled AS settlement, (n % :settled)::text AS line_no,
  20 + (n % 700) / 100.0 AS goods, 4 + (n % 140) / 100.0 AS tax, 5 + (n % 300) / 100.0 AS cost,
  3 + (n % 100) / 100.0 AS fee
FROM generate_series(1, :sales) AS n;

INSERT INTO ref.invoice (
  id, external_reference, source, sales_order_id, currency_code, posting_date, total, balance, status, posting_mode,
  payload, version
)
SELECT
  invoice, 'inv:' || number, 'Crossdock', sales_order, currency, day, goods + tax, 0, 'Paid', 'manual',
  jsonb_build_object('InvoiceID', invoice, 'SalesOrderID', sales_order, 'Total', goods + tax), at
FROM sale;

CREATE TEMP TABLE entry ON COMMIT DROP AS
SELECT
  'JE-' || n || part AS id, key || CASE part WHEN 'F' THEN source || ':' || settlement || ':' || line_no ELSE invoice END
  AS key, CASE part WHEN 'C' THEN 'GBP' ELSE currency END AS currency, day, at, type,
  CASE part WHEN 'F' THEN source || ':' || settlement ELSE invoice END AS document, what || sales_order AS what,
  lines, accounts, debits, credits, skus, sale.channel, sale.sales_order
FROM sale
CROSS JOIN LATERAL (
  VALUES ('S', 'sale:', 'Invoice', 'Sale, order ', 3, ARRAY['1100', '4000', '2200'], ARRAY[goods + tax, 0, 0],
    ARRAY[0, goods, tax], ARRAY[NULL, sku, NULL]),
  ('C', 'cogs:', 'Invoice', 'Cost of goods, order ', 2, ARRAY['5000', '1200'], ARRAY[cost, 0], ARRAY[0, cost],
    ARRAY[sku, sku]),
  ('F', 'fee:', 'Settlement', 'Commission, order ', 2, ARRAY['6100', '1100'], ARRAY[fee, 0], ARRAY[0, fee],
    ARRAY[sku, NULL])
) AS made (part, key, type, what, lines, accounts, debits, credits, skus);

INSERT INTO ref.gl_entry (
  id, external_reference, source, currency_code, posting_date, period, document_type, document_id, status, payload,
  version
)
SELECT
  id, key, 'Crossdock', currency, day, to_char(day, 'YYYY-MM'), type, document, 'Posted',
  jsonb_build_object('EntryID', id, 'Description', what, 'PostingDate', day, 'CurrencyCode', currency), at
FROM entry;

INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit, channel, sku, order_id)
SELECT id, l, accounts[l], debits[l], credits[l], channel, skus[l], sales_order
FROM entry CROSS JOIN LATERAL generate_series(1, lines) AS l;

-- Each line of a settlement is an order's own money, or the fee that its entry posts.
INSERT INTO ref.settlement (
  source, settlement_id, channel, format, file, currency_code, start_at, end_at, deposit_at, total, content_hash
)
SELECT source, settlement, min(channel), 'amazon_v2', settlement || '.txt', min(currency), min(at), max(at), max(at),
  sum(goods + tax - fee), 'h'
FROM sale GROUP BY source, settlement;

INSERT INTO ref.settlement_line (
  source, settlement_id, line_no, position, kind, order_ref, sku, amount, currency_code, posted_at, sales_order_id
)
SELECT
  source, settlement, line_no || part, 2 * (n % :settled) + place, kind, 'A-' || number, sku, amount, currency, sale.at,
  sales_order
FROM sale
CROSS JOIN LATERAL (VALUES ('.1', 0, 'principal', goods + tax), ('', 1, 'commission', -fee)) AS l (part, place, kind, amount);

CREATE TEMP TABLE deposit ON COMMIT DROP AS
SELECT source || ':' || settlement_id AS document, (end_at AT TIME ZONE 'Europe/London')::date AS day, s.*
FROM ref.settlement AS s;

INSERT INTO ref.gl_entry (
  id, external_reference, source, currency_code, posting_date, period, document_type, document_id, status, payload,
  version
)
SELECT
  'JE-' || document, 'transfer:' || document, 'Crossdock', currency_code, day, to_char(day, 'YYYY-MM'), 'Settlement',
  document, 'Posted', jsonb_build_object('Description', 'Payout ' || document), end_at
FROM deposit;

INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit, channel)
SELECT 'JE-' || document, l, CASE l WHEN 1 THEN '1000' ELSE '1100' END, CASE l WHEN 1 THEN total ELSE 0 END,
  CASE l WHEN 1 THEN 0 ELSE total END, channel
FROM deposit CROSS JOIN generate_series(1, 2) AS l;

-- Every month was looked at three times.
INSERT INTO ops.closing (period, run_id, asked_at, finished_at, controls, failed)
SELECT p.id, 'close/' || p.id || '/' || n, now(), now(), 60, 10
FROM ref.period AS p CROSS JOIN generate_series(1, 3) AS n;

INSERT INTO ops.control (run_id, period, control, subject, expected, actual, difference, holds, documents, message, "do")
SELECT
  c.run_id, c.period, 'clearing', 'order ' || n, '0.00', CASE WHEN n <= 10 THEN '1.00' ELSE '0.00' END,
  CASE WHEN n <= 10 THEN 1 ELSE 0 END, n > 10, CASE WHEN n <= 10 THEN '["INV-90000001"]' ELSE '[]' END::jsonb,
  'Clearing is empty.', 'Look at the documents.'
FROM ops.closing AS c CROSS JOIN generate_series(1, 60) AS n;

INSERT INTO ops.open_item (period, position, kind, currency_code, document, days, age, amount, party, order_id)
SELECT
  p.id, n - 1, 'invoices', CASE n % 3 WHEN 0 THEN 'USD' WHEN 1 THEN 'EUR' ELSE 'GBP' END, 'INV-' || (90000000 + n),
  n % 120, (ARRAY['0-30', '31-60', '61-90', 'over 90'])[1 + n % 120 / 31], 24.00,
  'Amazon UK', (90000000 + n)::text
FROM ref.period AS p CROSS JOIN generate_series(1, :letters) AS n;
