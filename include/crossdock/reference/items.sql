-- Copies a batch's newest items, and the codes by which they are known.
WITH newest AS (
  SELECT DISTINCT ON (key) key, version, payload FROM ops.work JOIN raw.tims_items USING (key, hash)
  WHERE batch_id = :batch AND (CAST(:keys AS text[]) IS NULL OR key = ANY(CAST(:keys AS text[])))
  ORDER BY key, version DESC, queued_at DESC
), merged AS (
  INSERT INTO ref.item (sku, status, type, kit_components, cost, list_price, currency_code, title, category,
    min_margin_percent, channel_eligible, version)
  SELECT key, payload->>'Status', payload->>'Type', coalesce(payload->'KitComponents', '[]'),
         (payload->>'Cost')::numeric, (payload->>'ListPrice')::numeric, payload->>'CurrencyCode',
         coalesce(payload->>'Title', ''), payload->>'Category', (payload->>'MinMarginPercent')::numeric,
         coalesce((payload->>'ChannelEligible')::boolean, false), version
  FROM newest
  ON CONFLICT (sku) DO UPDATE SET status = excluded.status, type = excluded.type,
    kit_components = excluded.kit_components, cost = excluded.cost, list_price = excluded.list_price,
    currency_code = excluded.currency_code, title = excluded.title, category = excluded.category,
    min_margin_percent = excluded.min_margin_percent, channel_eligible = excluded.channel_eligible,
    version = excluded.version
  WHERE ref.item.version <= excluded.version
  RETURNING sku
), gone AS (
  DELETE FROM ref.item_code USING merged WHERE item_code.sku = merged.sku
    AND item_code.code NOT IN (
      SELECT jsonb_array_elements_text(payload->'AlternateSKUs') FROM newest WHERE key = merged.sku
    ) AND item_code.code <> merged.sku
)
INSERT INTO ref.item_code (code, folded, kind, sku)
SELECT code, lower(btrim(code)), kind, sku FROM (
  SELECT key AS code, 'sku' AS kind, key AS sku FROM newest
  UNION ALL
  SELECT jsonb_array_elements_text(payload->'AlternateSKUs'), 'alternate', key FROM newest
) AS codes
WHERE sku IN (SELECT sku FROM merged)
ON CONFLICT (code, sku) DO NOTHING
