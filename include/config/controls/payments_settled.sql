-- A payment is what its settlement says of the order, but for a difference that was rounded away.
-- do: Compare the payment with its settlement; reverse it in TIMS and work the order again: `crossdock sync payments --key KEY`.
WITH settled AS (
  SELECT source || ':' || settlement_id || ':' || coalesce(order_ref, '#' || line_no) AS key, sum(amount) AS amount
  FROM ref.settlement_line
  WHERE kind IN ('principal', 'shipping', 'gift_wrap', 'tax', 'promotion', 'shipping_promotion', 'marketplace_tax',
                 'refund_principal', 'refund_shipping', 'refund_gift_wrap', 'refund_tax', 'refund_promotion',
                 'refund_shipping_promotion', 'refund_marketplace_tax')
  GROUP BY 1
), paid AS (
  SELECT p.id, p.currency_code, p.amount - coalesce(s.rounding, 0) - coalesce(s.refund_rounding, 0) AS amount, coalesce(l.amount, 0) AS settled
  FROM ref.payment p
  LEFT JOIN stage.payment s ON 'pay:' || s.key = p.external_reference
  LEFT JOIN settled l ON 'pay:' || l.key = p.external_reference
  WHERE p.source = 'Crossdock' AND p.external_reference LIKE 'pay:%' AND p.status <> 'Reversed' AND p.posting_date <= :period_end
)
SELECT currency_code AS subject, sum(settled) AS expected, sum(amount) AS actual,
       array_agg(id ORDER BY id) FILTER (WHERE amount <> settled) AS documents
FROM paid GROUP BY 1
