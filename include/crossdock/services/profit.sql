-- Profit by channel (and SKU, if :by_sku), from lines of entries between two days: a page of rows, the highest first, and
-- a total per currency. :codes and :groups say what each account is. If :in_base, amounts are worth what :rates say for
-- the entry's day, rounded where a row is added up; without a rate a line is left out.
WITH account AS (
  SELECT * FROM unnest(CAST(:codes AS text[]), CAST(:groups AS text[])) AS a (code, part)
), rate AS (
  SELECT * FROM unnest(CAST(:currencies AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[]),
                       CAST(:rates AS numeric[])) AS r (currency, start, until, worth)
), line AS (
  SELECT CASE WHEN :in_base THEN :base ELSE e.currency_code END AS currency_code, coalesce(l.channel, '') AS channel,
         CASE WHEN :by_sku THEN coalesce(l.sku, '') ELSE '' END AS sku, a.part,
         (l.credit - l.debit) * CASE WHEN :in_base THEN r.worth ELSE 1 END AS amount
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id JOIN account a ON a.code = l.account_code
  LEFT JOIN rate r ON r.currency = e.currency_code AND e.posting_date BETWEEN r.start AND r.until
  WHERE e.posting_date BETWEEN :first AND :until AND (NOT :in_base OR r.worth IS NOT NULL)
    AND (CAST(:channel AS text) IS NULL OR coalesce(l.channel, '') = :channel)
), part AS (
  SELECT currency_code, channel, sku,
         round(coalesce(sum(amount) FILTER (WHERE part = 'revenue'), 0), 2) AS revenue,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'discounts'), 0), 2) AS discounts,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'refunds'), 0), 2) AS refunds,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'cost'), 0), 2) AS cost,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'fees'), 0), 2) AS fees,
         round(coalesce(sum(amount) FILTER (WHERE part = 'other'), 0), 2) AS other,
         round(coalesce(sum(amount) FILTER (WHERE part = 'tax'), 0), 2) AS tax
  FROM line GROUP BY currency_code, channel, sku
), summed AS (
  SELECT *, revenue - discounts - refunds - cost - fees + other AS profit FROM part
), page AS (
  SELECT * FROM summed
  WHERE NOT :beyond OR (-profit, currency_code, sku, channel)
                       > (-CAST(:last AS numeric), :last_currency, :last_sku, :last_channel)
  ORDER BY -profit, currency_code, sku, channel LIMIT :most
)
SELECT false AS is_total, currency_code, channel, sku, revenue, discounts, refunds, cost, fees, other, profit, tax
FROM page
UNION ALL
SELECT true, currency_code, '', '', sum(revenue), sum(discounts), sum(refunds), sum(cost), sum(fees), sum(other),
       sum(profit), sum(tax)
FROM summed GROUP BY currency_code
ORDER BY is_total, profit DESC, currency_code, sku, channel
