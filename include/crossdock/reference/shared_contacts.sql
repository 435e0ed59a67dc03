-- Which of these contacts too many customers share, in TIMS or in our own orders. An order with an ambiguous buyer
-- counts by the name of its recipient. Of a contact no more buyers are counted than there must be: one that a
-- marketplace gives to all its buyers has as many as the shop. The order lets the indexes find each buyer once.
SELECT 'email' AS kind, value FROM unnest(CAST(:emails AS text[])) AS asked (value)
WHERE CAST(:most AS bigint) < (SELECT count(*) FROM (
  SELECT hashtextextended(customer_id, 0) AS buyer FROM (
    SELECT DISTINCT customer_id FROM ref.customer_key WHERE kind = 'email' AND value = asked.value
    ORDER BY customer_id LIMIT CAST(:most AS bigint) + 1
  ) AS in_tims
  UNION
  SELECT buyer FROM (
    SELECT DISTINCT hashtextextended(coalesce(customer_id, customer_key, lower("ShippingAddress.Name")), 0) AS buyer
    FROM stage.buyer
    WHERE lower("Email") = asked.value
      AND hashtextextended(coalesce(customer_id, customer_key, lower("ShippingAddress.Name")), 0) IS NOT NULL
    ORDER BY buyer LIMIT CAST(:most AS bigint) + 1
  ) AS in_orders
) AS buyers)
UNION ALL
SELECT 'phone', value FROM unnest(CAST(:phones AS text[])) AS asked (value)
WHERE CAST(:most AS bigint) < (SELECT count(*) FROM (
  SELECT hashtextextended(customer_id, 0) AS buyer FROM (
    SELECT DISTINCT customer_id FROM ref.customer_key
    WHERE kind = 'phone_postal' AND split_part(value, '|', 1) = asked.value
    ORDER BY customer_id LIMIT CAST(:most AS bigint) + 1
  ) AS in_tims
  UNION
  SELECT buyer FROM (
    SELECT DISTINCT hashtextextended(coalesce(customer_id, customer_key, lower("ShippingAddress.Name")), 0) AS buyer
    FROM stage.buyer
    WHERE "Phone" = asked.value
      AND hashtextextended(coalesce(customer_id, customer_key, lower("ShippingAddress.Name")), 0) IS NOT NULL
    ORDER BY buyer LIMIT CAST(:most AS bigint) + 1
  ) AS in_orders
) AS buyers)
