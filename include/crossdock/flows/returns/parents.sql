-- What a return waits for, as one text that changes with anything of it. :keys are ChannelAdvisorOrderIDs.
SELECT o.external_order_id AS order_key,
       md5(string_agg(d.id || ' ' || extract(epoch FROM d.version), ',' ORDER BY d.id)) AS parents
FROM ref.sales_order o CROSS JOIN LATERAL (
  SELECT o.id, o.version
  UNION ALL
  SELECT s.id, s.version FROM ref.shipment s WHERE s.sales_order_id = o.id
  UNION ALL
  SELECT i.id, i.version FROM ref.invoice i WHERE i.sales_order_id = o.id
) d
WHERE o.source = 'ChannelAdvisor' AND o.external_order_id = ANY(:keys)
GROUP BY o.external_order_id
