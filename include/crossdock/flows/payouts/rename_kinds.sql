-- Gives booked lines the kinds that the rules give them now.
UPDATE ref.settlement_line b SET former_kind = b.kind, kind = l."Kind", booked_at = now()
FROM stage.settlement_line l
WHERE l.key = :key AND b.source = :source AND b.settlement_id = :settlement_id AND b.line_no = l."LineNo"
  AND b.kind <> l."Kind" AND NOT (b.kind = :apart AND b.former_kind = l."Kind")
