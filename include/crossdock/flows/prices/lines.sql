-- The ready price lines of a batch, with the prices of their product; decimals as they are stored.
SELECT l.key, l.sku, l.listing_id, l.site_id, l."Price" AS price, l."Currency" AS currency, l.cost, l.promotion_id,
       l.content_hash, s.version, s."MinPrice" AS min_price, s."MaxPrice" AS max_price, s."RetailPrice" AS retail_price,
       s."Promotion.Price" AS promotion_price, s."Promotion.StartDate" AS promotion_start,
       s."Promotion.EndDate" AS promotion_end
FROM stage.price s JOIN stage.price_line l ON l.key = s.key
WHERE s.batch_id = :batch AND s.state = 'ready' ORDER BY l.key, l.position
