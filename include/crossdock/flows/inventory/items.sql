-- Items with their state and the parts of kits.
SELECT i.sku, CASE WHEN i.status = 'Blocked' THEN 'blocked' WHEN NOT i.channel_eligible THEN 'not_eligible'
    WHEN i.status = 'Discontinued' THEN 'discontinued' ELSE 'sellable' END AS state,
  i.kit_components
FROM ref.item i WHERE i.sku = ANY(:skus)
