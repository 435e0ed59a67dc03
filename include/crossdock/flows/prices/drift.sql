-- Items whose prices at the channel differ from those sent.
SELECT DISTINCT s.key FROM stage.price s JOIN stage.price_line l ON l.key = s.key
LEFT JOIN ref.channel_price c ON c.sku = l.sku AND l.listing_id IS NULL
LEFT JOIN ref.channel_listing g ON g.listing_id = l.listing_id
WHERE s.state IN ('delivered', 'unchanged') AND CASE WHEN l.listing_id IS NULL THEN
  (s."Price", s."Currency", s."MinPrice", s."MaxPrice", s."RetailPrice", s."Promotion.PromotionID",
   s."Promotion.Price", CAST(s."Promotion.StartDate" AS timestamptz), CAST(s."Promotion.EndDate" AS timestamptz))
  IS DISTINCT FROM (c.price, c.currency_code, c.min_price, c.max_price, c.retail_price, c.promotion_id,
   c.promotion_price, c.promotion_start, c.promotion_end)
  ELSE g.listing_id IS NOT NULL AND g.status <> 'Ended' AND l."Price" IS DISTINCT FROM g.price END
ORDER BY s.key
