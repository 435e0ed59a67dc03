-- Contacts that too many customers share, in TIMS or in our own orders. An order with an ambiguous buyer counts by the
-- name of its recipient.
WITH had AS (
  SELECT 'email' AS kind, value, customer_id AS buyer FROM ref.customer_key WHERE kind = 'email'
  UNION
  SELECT 'phone', split_part(value, '|', 1), customer_id FROM ref.customer_key WHERE kind = 'phone_postal'
  UNION
  SELECT 'email', lower("Email"), coalesce(customer_id, customer_key, lower("ShippingAddress.Name"))
        FROM stage.buyer WHERE "Email" IS NOT NULL
  UNION
  SELECT 'phone', "Phone", coalesce(customer_id, customer_key, lower("ShippingAddress.Name"))
        FROM stage.buyer WHERE "Phone" IS NOT NULL
)
SELECT kind, value FROM had GROUP BY kind, value HAVING count(DISTINCT buyer) > :most
