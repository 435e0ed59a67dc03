-- Gives staged buyers the ids of the customers that were created for them.
UPDATE stage.buyer b SET customer_id = c.customer_id FROM stage.customer c
WHERE b.state = 'staged' AND b.customer_id IS NULL AND c.key = b.customer_key AND c.customer_id IS NOT NULL
