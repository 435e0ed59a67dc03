-- Copies the lines of a batch's entries. They do not change: posted means final.
WITH newest AS (
  SELECT DISTINCT ON (key) key, version, payload FROM ops.work JOIN raw.tims_entries USING (key, hash)
  WHERE batch_id = :batch AND (CAST(:keys AS text[]) IS NULL OR key = ANY(CAST(:keys AS text[])))
  ORDER BY key, version DESC, queued_at DESC
)
INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit, channel, sku, order_id, memo)
SELECT key, (l->>'LineNo')::int, l->>'AccountCode', (l->>'Debit')::numeric, (l->>'Credit')::numeric,
       l#>>'{Dimensions,Channel}', l#>>'{Dimensions,SKU}', l#>>'{Dimensions,Order}', l->>'Memo'
FROM newest CROSS JOIN LATERAL jsonb_array_elements(payload->'Lines') AS l
ON CONFLICT (entry_id, line_no) DO NOTHING
