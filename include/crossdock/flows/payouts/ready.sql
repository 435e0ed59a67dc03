-- The ready settlements of a batch, in the order of their periods.
SELECT key, content_hash, "Source" AS source, "SettlementID" AS settlement_id, "File" AS file
FROM stage.settlement WHERE batch_id = :batch AND state = 'ready' ORDER BY "Source", "StartDate", key
