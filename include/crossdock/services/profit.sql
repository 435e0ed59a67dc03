-- Profit by channel between two days, from the sums of each day: a page of rows, the highest first, and a total per
-- currency. :codes and :groups say what each account is. If :in_base, amounts are worth what :rates say for their day,
-- rounded where a row is added up; without a rate they are left out.
WITH account AS (
  SELECT * FROM unnest(CAST(:codes AS text[]), CAST(:groups AS text[])) AS a (code, part)
), rate AS (
  SELECT * FROM unnest(CAST(:currencies AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[]),
                       CAST(:rates AS numeric[])) AS r (currency, start, until, worth)
), line AS (
  SELECT CASE WHEN :in_base THEN :base ELSE s.currency_code END AS currency_code, s.channel, a.part,
         (s.credit - s.debit) * CASE WHEN :in_base THEN r.worth ELSE 1 END AS amount
  FROM ref.ledger_day s JOIN account a ON a.code = s.account_code
  LEFT JOIN rate r ON r.currency = s.currency_code AND s.posting_date BETWEEN r.start AND r.until
  WHERE s.posting_date BETWEEN :first AND :until AND (NOT :in_base OR r.worth IS NOT NULL)
    AND (CAST(:channel AS text) IS NULL OR s.channel = :channel)
), part AS (
  SELECT currency_code, channel,
         round(coalesce(sum(amount) FILTER (WHERE part = 'revenue'), 0), 2) AS revenue,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'discounts'), 0), 2) AS discounts,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'refunds'), 0), 2) AS refunds,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'cost'), 0), 2) AS cost,
         -round(coalesce(sum(amount) FILTER (WHERE part = 'fees'), 0), 2) AS fees,
         round(coalesce(sum(amount) FILTER (WHERE part = 'other'), 0), 2) AS other,
         round(coalesce(sum(amount) FILTER (WHERE part = 'tax'), 0), 2) AS tax
  FROM line GROUP BY currency_code, channel
), summed AS (
  SELECT *, revenue - discounts - refunds - cost - fees + other AS profit FROM part
), page AS (
  SELECT * FROM summed
  WHERE NOT :beyond OR (-profit, currency_code, channel) > (-CAST(:last AS numeric), :last_currency, :last_channel)
  ORDER BY -profit, currency_code, channel LIMIT :most
)
SELECT false AS is_total, currency_code, channel, '' AS sku, revenue, discounts, refunds, cost, fees, other, profit, tax,
       profit AS place
FROM page
UNION ALL
SELECT true, currency_code, '', '', sum(revenue), sum(discounts), sum(refunds), sum(cost), sum(fees), sum(other),
       sum(profit), sum(tax), 0
FROM summed GROUP BY currency_code
ORDER BY is_total, profit DESC, currency_code, channel
