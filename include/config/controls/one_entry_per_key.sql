-- No event is posted twice: a key has one entry, and of an entry and its corrected versions one stands at most.
-- do: Reverse the entry that is too many in TIMS.
WITH entry AS (
  SELECT id, status, reversal_of, external_reference,
         regexp_replace(external_reference, ':v\d+$', '') AS key,
         count(*) OVER (PARTITION BY external_reference) AS copies
  FROM ref.gl_entry WHERE source = 'Crossdock' AND posting_date <= :period_end
), standing AS (
  SELECT id, copies, key, count(*) FILTER (WHERE status = 'Posted' AND reversal_of IS NULL) OVER (PARTITION BY key) AS stands
  FROM entry
)
SELECT 'entries' AS subject, count(*) AS expected, count(*) FILTER (WHERE copies = 1 AND stands <= 1) AS actual,
       array_agg(id || ' (' || key || ')' ORDER BY key) FILTER (WHERE copies > 1 OR stands > 1) AS documents
FROM standing
