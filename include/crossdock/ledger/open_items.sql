-- Open items as they were on :until: what was posted later is not looked at. All of them together are what Clearing is,
-- but for entries by hand. :own are the kinds of settlement lines that are an order's own money. `document` is what is
-- open: an invoice, a payment, an order, a settlement; `party` the channel that owes it, `order_id` its order's number
-- at the channel or the marketplace.
WITH payment AS (
  SELECT * FROM ref.payment WHERE posting_date <= :until
    AND (status <> 'Reversed' OR (payload->>'ReversalPostingDate')::date > :until)
), applied AS (
  SELECT coalesce(a->>'InvoiceID', a->>'CreditMemoID') AS id, sum(abs((a->>'Amount')::numeric)) AS amount
  FROM payment p CROSS JOIN LATERAL jsonb_array_elements(p.payload->'Applications') a GROUP BY 1
), posted AS (  -- the day of an entry that stands, by its key as first posted
  SELECT regexp_replace(external_reference, '[:]v[0-9]+$', '') AS key, min(posting_date) AS day
  FROM ref.gl_entry WHERE source = 'Crossdock' AND status = 'Posted' AND reversal_of IS NULL
    AND document_type = 'Settlement' GROUP BY 1
), settlement AS (
  SELECT s.*, coalesce(p.day, (coalesce(deposit_at, end_at) AT TIME ZONE c.time_zone)::date) AS day
  FROM ref.settlement s CROSS JOIN ref.company c
  LEFT JOIN posted p ON p.key = 'transfer:' || s.source || ':' || s.settlement_id
), line AS (
  SELECT l.*, coalesce(p.day, (l.posted_at AT TIME ZONE c.time_zone)::date) AS day, s.day AS paid_on,
         l.kind = ANY(:own) AS own, s.channel
  FROM ref.settlement_line l JOIN settlement s USING (source, settlement_id) CROSS JOIN ref.company c
  LEFT JOIN posted p ON p.key = 'fee:' || l.source || ':' || l.settlement_id || ':' || l.line_no
), channel AS (
  SELECT source, max(channel) AS channel FROM ref.settlement GROUP BY source
), item AS (
  SELECT 'invoices' AS kind, i.currency_code, i.posting_date AS day, i.total - coalesce(a.amount, 0) AS amount,
         i.id AS document, o.channel AS party, o.external_order_id AS order_id
  FROM ref.invoice i LEFT JOIN applied a USING (id) LEFT JOIN ref.sales_order o ON o.id = i.sales_order_id
  WHERE i.status <> 'Voided' OR EXISTS (  -- voided since: its mirror went to a later period
    SELECT FROM ref.gl_entry old JOIN ref.gl_entry mirror ON mirror.reversal_of = old.id
    WHERE old.document_type = 'Invoice' AND old.document_id = i.id AND mirror.posting_date > :until)
  UNION ALL
  SELECT 'credit memos', c.currency_code, c.posting_date, coalesce(a.amount, 0) - c.total, c.id, o.channel,
         o.external_order_id
  FROM ref.credit_memo c LEFT JOIN applied a USING (id) LEFT JOIN ref.sales_order o ON o.id = c.sales_order_id
  UNION ALL
  SELECT 'unapplied payments', currency_code, posting_date, -unapplied_amount, id, c.channel,
         CASE WHEN c.source IS NOT NULL THEN split_part(external_reference, ':', 4) END
  FROM payment LEFT JOIN channel c
    ON payment.external_reference ~ '^pay:' AND c.source = split_part(external_reference, ':', 2)
  UNION ALL
  SELECT 'paid before shipment', e.currency_code, min(e.posting_date), sum(l.debit - l.credit), coalesce(l.order_id, ''),
         max(l.channel), coalesce(max(o.external_order_id), l.order_id)
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
  LEFT JOIN ref.sales_order o ON o.id = l.order_id
  JOIN ref.account_name n ON n.code = l.account_code AND n.name = 'Clearing'
  WHERE e.source = 'Crossdock' AND e.external_reference ~ '^(capture|dep):' AND e.posting_date <= :until
  GROUP BY l.order_id, e.currency_code
  UNION ALL
  SELECT 'settled, not applied yet', l.currency_code, l.paid_on, -l.amount,
         l.source || ':' || l.settlement_id || ':' || coalesce(l.order_ref, '#' || l.line_no), l.channel, l.order_ref
  FROM line l
  WHERE l.own AND NOT EXISTS (
    SELECT FROM payment p WHERE p.external_reference
      = 'pay:' || l.source || ':' || l.settlement_id || ':' || coalesce(l.order_ref, '#' || l.line_no))
  UNION ALL
  SELECT 'settled, not paid out yet', currency_code, day, amount, source || ':' || settlement_id, channel, order_ref
  FROM line
  WHERE NOT own AND kind <> 'carried_forward' AND paid_on > :until
  UNION ALL
  SELECT 'carried to the next settlement', currency_code, max(day), sum(least(total, 0) - coalesce(carried.amount, 0)),
         source, max(channel), NULL
  FROM settlement LEFT JOIN (
    SELECT source, settlement_id, sum(amount) AS amount FROM line WHERE kind = 'carried_forward' GROUP BY 1, 2
  ) carried USING (source, settlement_id)
  WHERE day <= :until GROUP BY source, currency_code
)
SELECT kind, currency_code, :until - day AS days, round(amount, 2) AS amount, document, coalesce(party, '') AS party,
       coalesce(order_id, '') AS order_id
FROM item
WHERE amount <> 0 AND day <= :until
