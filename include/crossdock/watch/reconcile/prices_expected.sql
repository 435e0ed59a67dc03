-- What the channel should have, by the Price rule.
SELECT lower(btrim(key)) AS key, jsonb_build_object('price', "Price", 'currency', "Currency",
         'minimum', "MinPrice", 'maximum', "MaxPrice", 'promotion', "Promotion.Price") AS facts
FROM stage.price WHERE "Price" IS NOT NULL
