-- Customers whose data differ from an order's in any letter; the rule decides whether that is a change. A customer that
-- was created just now has no version in raw yet, but the document that it was created from.
WITH waiting AS (
  SELECT b.* FROM stage.buyer b JOIN ops.link l ON l.entity = 'sales_order' AND l.source_key = b.key
  WHERE b.state = 'staged' AND b.customer_id IS NOT NULL
), held AS (
  SELECT b.*, coalesce(r.payload, c.document) AS payload FROM waiting b
  LEFT JOIN LATERAL (
    SELECT payload FROM ops.work JOIN raw.tims_customers USING (key, hash)
    WHERE queue = 'tims.customers' AND key = b.customer_id ORDER BY version DESC, queued_at DESC LIMIT 1
  ) r ON true
  LEFT JOIN stage.customer c ON c.key = b.customer_key
)
SELECT DISTINCT b.customer_id FROM held b CROSS JOIN LATERAL (SELECT b.payload) h
WHERE h.payload IS NULL
   OR lower(b."Email") IS DISTINCT FROM lower(h.payload->>'Email') AND b."Email" IS NOT NULL
   OR b."Phone" IS DISTINCT FROM h.payload->>'Phone' AND b."Phone" IS NOT NULL
   OR b."BillingAddress.Line1" IS NOT NULL AND jsonb_strip_nulls(jsonb_build_object(
      'Name', b."BillingAddress.Name", 'Company', b."BillingAddress.Company", 'Line1', b."BillingAddress.Line1",
      'Line2', b."BillingAddress.Line2", 'City', b."BillingAddress.City", 'Region', b."BillingAddress.Region",
      'PostalCode', b."BillingAddress.PostalCode", 'CountryCode', b."BillingAddress.CountryCode"
   )) IS DISTINCT FROM jsonb_strip_nulls(h.payload->'BillingAddress')
   OR b."ShippingAddress.Line1" IS NOT NULL AND jsonb_strip_nulls(jsonb_build_object(
      'Name', b."ShippingAddress.Name", 'Company', b."ShippingAddress.Company", 'Line1', b."ShippingAddress.Line1",
      'Line2', b."ShippingAddress.Line2", 'City', b."ShippingAddress.City", 'Region', b."ShippingAddress.Region",
      'PostalCode', b."ShippingAddress.PostalCode", 'CountryCode', b."ShippingAddress.CountryCode"
   )) IS DISTINCT FROM jsonb_strip_nulls(h.payload#>'{ShippingAddresses,0}')
   OR EXISTS (
     SELECT FROM ops.customer_change o WHERE o.customer_id = b.customer_id AND (
       o.outcome = 'sent' OR o.row_version > coalesce((h.payload->>'RowVersion')::bigint, 1)
     )
   )
