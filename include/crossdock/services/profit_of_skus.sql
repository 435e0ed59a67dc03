-- Profit by channel and SKU in the month that begins on :first: a page of rows, the highest first, from the sums of each
-- day. The page is found by one sum a row (`place`, not rounded), its parts are added up afterwards. Parameters as those
-- of profit.sql.
WITH rate AS (
  SELECT * FROM unnest(CAST(:currencies AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[]),
                       CAST(:rates AS numeric[])) AS r (currency, start, until, worth)
), account AS (
  SELECT * FROM unnest(CAST(:codes AS text[]), CAST(:groups AS text[])) AS a (code, part)
), own AS (
  SELECT s.currency_code, s.channel, s.sku,
         sum(s.credit - s.debit) FILTER (WHERE s.account_code <> ALL(ARRAY(SELECT code FROM account WHERE part = 'tax')))
           AS profit
  FROM ref.ledger_sku_day s
  WHERE NOT :in_base AND s.month = :first AND s.account_code = ANY(CAST(:codes AS text[]))
    AND (CAST(:channel AS text) IS NULL OR s.channel = :channel)
  GROUP BY s.currency_code, s.channel, s.sku
), based AS (
  SELECT CAST(:base AS text) AS currency_code, s.channel, s.sku,
         sum((s.credit - s.debit) * r.worth)
           FILTER (WHERE s.account_code <> ALL(ARRAY(SELECT code FROM account WHERE part = 'tax'))) AS profit
  FROM ref.ledger_sku_day s
  JOIN rate r ON r.currency = s.currency_code AND s.posting_date BETWEEN r.start AND r.until
  WHERE :in_base AND s.month = :first AND s.account_code = ANY(CAST(:codes AS text[]))
    AND (CAST(:channel AS text) IS NULL OR s.channel = :channel)
  GROUP BY s.channel, s.sku
), page AS MATERIALIZED (
  SELECT currency_code, channel, sku, coalesce(profit, 0) AS place
  FROM (
    SELECT * FROM own
    UNION ALL
    SELECT * FROM based
  ) AS ranked
  WHERE NOT :beyond OR (-coalesce(profit, 0), currency_code, sku, channel)
                       > (-CAST(:last AS numeric), :last_currency, :last_sku, :last_channel)
  ORDER BY -coalesce(profit, 0), currency_code, sku, channel LIMIT :most
), part AS (
  SELECT p.currency_code, p.channel, p.sku, p.place,
         round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'revenue'), 0), 2) AS revenue,
         -round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'discounts'), 0), 2) AS discounts,
         -round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'refunds'), 0), 2) AS refunds,
         -round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'cost'), 0), 2) AS cost,
         -round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'fees'), 0), 2) AS fees,
         round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'other'), 0), 2) AS other,
         round(coalesce(sum(l.amount) FILTER (WHERE l.part = 'tax'), 0), 2) AS tax
  FROM page p
  CROSS JOIN LATERAL (
    SELECT a.part, (s.credit - s.debit) * CASE WHEN :in_base THEN r.worth ELSE 1 END AS amount
    FROM ref.ledger_sku_day s JOIN account a ON a.code = s.account_code
    LEFT JOIN rate r ON r.currency = s.currency_code AND s.posting_date BETWEEN r.start AND r.until
    WHERE s.month = :first AND s.channel = p.channel AND s.sku = p.sku AND (NOT :in_base OR r.worth IS NOT NULL)
      AND s.currency_code = ANY(CASE WHEN :in_base THEN CAST(:currencies AS text[]) ELSE ARRAY[p.currency_code] END)
  ) l
  GROUP BY p.currency_code, p.channel, p.sku, p.place
)
SELECT *, revenue - discounts - refunds - cost - fees + other AS profit FROM part
ORDER BY -place, currency_code, sku, channel
