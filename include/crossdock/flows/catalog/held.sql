-- Products of the channel, with what was last delivered to each.
SELECT c.sku, c.product_id, c.type, c.payload, p.delivered FROM ref.channel_product c
LEFT JOIN ops.product p ON p.product_sku = c.sku WHERE c.sku = ANY(:skus)
