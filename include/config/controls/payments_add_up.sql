-- A payment is what it applies and what is left of it.
-- do: Compare the payment's applications in TIMS; reverse it and post it right.
WITH payment AS (
  SELECT id, currency_code, amount, unapplied_amount
         + coalesce((SELECT sum((a->>'Amount')::numeric) FROM jsonb_array_elements(payload->'Applications') a), 0) AS parts
  FROM ref.payment WHERE posting_date <= :period_end
)
SELECT currency_code AS subject, sum(parts) AS expected, sum(amount) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE parts <> amount) AS documents
FROM payment GROUP BY 1
