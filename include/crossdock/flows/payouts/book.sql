-- Books a settlement from its staged row.
INSERT INTO ref.settlement (source, settlement_id, channel, format, file, currency_code, "group", start_at, end_at,
                            deposit_at, total, content_hash)
SELECT "Source", "SettlementID", "Channel", "Format", "File", "CurrencyCode", coalesce("SettlementGroup", ''),
       "StartDate"::timestamptz,
       "EndDate"::timestamptz, "DepositDate"::timestamptz, "TotalAmount", content_hash
FROM stage.settlement WHERE key = :key
