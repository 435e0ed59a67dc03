-- Settlements of a source, and of each group that it settles apart, follow each other without gap or overlap: the end of one is the start of the next.
-- do: Fetch the settlement that is missing from the marketplace and put it into the inbox.
WITH chain AS (
  SELECT source, settlement_id, end_at, lead(start_at) OVER each AS next_start, lead(settlement_id) OVER each AS next_id
  FROM ref.settlement WHERE start_at IS NOT NULL AND end_at IS NOT NULL
  WINDOW each AS (PARTITION BY source, "group" ORDER BY start_at, end_at)
)
SELECT source AS subject, count(*) AS expected, count(*) FILTER (WHERE end_at = next_start) AS actual,
       array_agg(settlement_id || ' to ' || next_id ORDER BY end_at) FILTER (WHERE end_at <> next_start) AS documents
FROM chain WHERE next_id IS NOT NULL GROUP BY 1
