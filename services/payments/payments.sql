-- Every statement that payments runs.

-- lodge_method(id text, provider text, token text, now_us int) -> count
INSERT INTO payments_method (id, provider, token, lodged_at_us)
VALUES (:id, :provider, :token, :now_us)
ON CONFLICT (id) DO NOTHING;

-- find_method(id text) -> MethodRow
SELECT provider, token
FROM payments_method
WHERE id = :id;

-- take_method(id text) -> MethodRow
DELETE FROM payments_method
WHERE id = :id
RETURNING provider, token;

-- purge_methods(before_us int) -> count
DELETE FROM payments_method
WHERE lodged_at_us < :before_us;

-- add_attempt(id text, order_id text, payment_method_id text, provider text, amount_minor int,
--     currency text, asked int, hold_until_us int, look_us int, now_us int) -> count
INSERT INTO payments_attempt (id, order_id, payment_method_id, provider, status, amount_minor,
    currency, claimed_minor, refunded_minor, asked, hold_until_us, look_us, created_at_us,
    settled_at_us)
SELECT :id, :order_id, :payment_method_id, :provider, 'pending', :amount_minor, :currency, 0, 0,
    :asked, :hold_until_us, :look_us, :now_us, 0
WHERE NOT EXISTS (SELECT 1 FROM payments_closed WHERE order_id = :order_id)
ON CONFLICT DO NOTHING;

-- find_payment(id text) -> Payment
SELECT id, order_id,
    CASE WHEN status = 'completed' AND refunded_minor = amount_minor THEN 'refunded'
         WHEN status = 'completed' AND refunded_minor > 0 THEN 'partly_refunded'
         ELSE status END AS status,
    amount_minor AS "amount.amount", currency AS "amount.currency",
    refunded_minor AS "refunded.amount", currency AS "refunded.currency",
    provider, ref, reason, created_at_us, settled_at_us
FROM payments_attempt
WHERE id = :id;

-- list_order_payments(order_id text, limit int) -> Payment[]
SELECT id, order_id,
    CASE WHEN status = 'completed' AND refunded_minor = amount_minor THEN 'refunded'
         WHEN status = 'completed' AND refunded_minor > 0 THEN 'partly_refunded'
         ELSE status END AS status,
    amount_minor AS "amount.amount", currency AS "amount.currency",
    refunded_minor AS "refunded.amount", currency AS "refunded.currency",
    provider, ref, reason, created_at_us, settled_at_us
FROM payments_attempt
WHERE order_id = :order_id AND status IN ('pending', 'completed')
UNION ALL
SELECT id, order_id,
    CASE WHEN status = 'completed' AND refunded_minor = amount_minor THEN 'refunded'
         WHEN status = 'completed' AND refunded_minor > 0 THEN 'partly_refunded'
         ELSE status END AS status,
    amount_minor AS "amount.amount", currency AS "amount.currency",
    refunded_minor AS "refunded.amount", currency AS "refunded.currency",
    provider, ref, reason, created_at_us, settled_at_us
FROM payments_attempt
WHERE order_id = :order_id AND status = 'failed'
ORDER BY created_at_us DESC, id DESC
LIMIT :limit;

-- find_attempt(id text) -> AttemptRow
SELECT id, order_id, status, amount_minor, currency, provider, ref, reason, payment_method_id,
    claimed_minor, refunded_minor, asked, hold_until_us, created_at_us, settled_at_us
FROM payments_attempt
WHERE id = :id;

-- find_live_attempt(order_id text) -> AttemptRow
SELECT id, order_id, status, amount_minor, currency, provider, ref, reason, payment_method_id,
    claimed_minor, refunded_minor, asked, hold_until_us, created_at_us, settled_at_us
FROM payments_attempt
WHERE order_id = :order_id AND status IN ('pending', 'completed');

-- list_pending_attempts(now_us int, limit int) -> AttemptRow[]
SELECT id, order_id, status, amount_minor, currency, provider, ref, reason, payment_method_id,
    claimed_minor, refunded_minor, asked, hold_until_us, created_at_us, settled_at_us
FROM payments_attempt
WHERE status = 'pending' AND look_us <= :now_us
ORDER BY look_us
LIMIT :limit;

-- status || '': it is found by its key, and never among all that are pending, however few those
-- were when PostgreSQL planned it.
-- begin_attempt(id text, look_us int) -> count
UPDATE payments_attempt
SET asked = 1, look_us = :look_us
WHERE id = :id AND asked = 0 AND status || '' = 'pending';

-- settle_attempt(id text, status text, ref text?, reason text?, now_us int) -> count
UPDATE payments_attempt
SET status = :status, ref = :ref, reason = :reason, settled_at_us = :now_us
WHERE id = :id AND status || '' = 'pending';

-- postpone_attempt(id text, look_us int) -> count
UPDATE payments_attempt
SET look_us = :look_us
WHERE id = :id AND status || '' = 'pending';

-- A crash may have cut off whoever was asking for these.
-- look_at_attempts_now() -> count
UPDATE payments_attempt
SET look_us = 0
WHERE status = 'pending';

-- claim_refund(id text, amount_minor int) -> count
UPDATE payments_attempt
SET claimed_minor = claimed_minor + :amount_minor
WHERE id = :id AND status = 'completed' AND claimed_minor + :amount_minor <= amount_minor;

-- unclaim_refund(id text, amount_minor int) -> count
UPDATE payments_attempt
SET claimed_minor = claimed_minor - :amount_minor
WHERE id = :id;

-- count_refunded(id text, amount_minor int) -> Payment
UPDATE payments_attempt
SET refunded_minor = refunded_minor + :amount_minor
WHERE id = :id
RETURNING id, order_id, amount_minor AS "amount.amount", refunded_minor AS "refunded.amount",
    provider, ref;

-- add_refund(id text, attempt_id text, order_id text, provider text, amount_minor int,
--     currency text, restock int, reason text, look_us int, now_us int) -> count
INSERT INTO payments_refund (id, attempt_id, order_id, provider, status, amount_minor, currency,
    restock, reason, look_us, created_at_us, settled_at_us)
VALUES (:id, :attempt_id, :order_id, :provider, 'pending', :amount_minor, :currency, :restock,
    :reason, :look_us, :now_us, 0)
ON CONFLICT (id) DO NOTHING;

-- find_refund(id text) -> RefundRow
SELECT id, attempt_id, order_id, status, amount_minor, currency, provider, restock, reason
FROM payments_refund
WHERE id = :id;

-- list_pending_refunds(now_us int, limit int) -> RefundRow[]
SELECT id, attempt_id, order_id, status, amount_minor, currency, provider, restock, reason
FROM payments_refund
WHERE status = 'pending' AND look_us <= :now_us
ORDER BY look_us
LIMIT :limit;

-- settle_refund(id text, status text, now_us int) -> count
UPDATE payments_refund
SET status = :status, settled_at_us = :now_us
WHERE id = :id AND status || '' = 'pending';

-- postpone_refund(id text, look_us int) -> count
UPDATE payments_refund
SET look_us = :look_us
WHERE id = :id AND status || '' = 'pending';

-- close_order(order_id text, reason text, now_us int) -> count
INSERT INTO payments_closed (order_id, reason, closed_at_us, look_us, open)
VALUES (:order_id, :reason, :now_us, :now_us, 1)
ON CONFLICT (order_id) DO NOTHING;

-- find_closed(order_id text) -> ClosedRow
SELECT order_id, reason, closed_at_us
FROM payments_closed
WHERE order_id = :order_id;

-- list_open_closed(now_us int, limit int) -> ClosedRow[]
SELECT order_id, reason, closed_at_us
FROM payments_closed
WHERE open = 1 AND look_us <= :now_us
ORDER BY look_us
LIMIT :limit;

-- look_at_closed(order_id text, look_us int, open int) -> count
UPDATE payments_closed
SET look_us = :look_us, open = :open
WHERE order_id = :order_id;

-- What was settled after a moment (or at it, with a greater id) and before another.
-- list_movements(after_us int, after_id text, before_us int, limit int) -> MovementRow[]
SELECT 'charge' AS kind, id, id AS payment_id, order_id, status, amount_minor, currency, provider,
    ref, reason, created_at_us, settled_at_us
FROM payments_attempt
WHERE settled_at_us > 0 AND (settled_at_us, id) > (:after_us, :after_id)
    AND settled_at_us < :before_us
UNION ALL
SELECT 'refund' AS kind, id, attempt_id AS payment_id, order_id, status, amount_minor, currency,
    provider, '' AS ref, reason, created_at_us, settled_at_us
FROM payments_refund
WHERE settled_at_us > 0 AND (settled_at_us, id) > (:after_us, :after_id)
    AND settled_at_us < :before_us
ORDER BY settled_at_us, id
LIMIT :limit;

-- find_movement(id text) -> MovementRow
SELECT 'charge' AS kind, id, id AS payment_id, order_id, status, amount_minor, currency, provider,
    ref, reason, created_at_us, settled_at_us
FROM payments_attempt
WHERE id = :id
UNION ALL
SELECT 'refund' AS kind, id, attempt_id AS payment_id, order_id, status, amount_minor, currency,
    provider, '' AS ref, reason, created_at_us, settled_at_us
FROM payments_refund
WHERE id = :id;

-- keep_reconciliation(date text, provider text, result text, differences int, now_us int) -> count
INSERT INTO payments_reconciliation (date, provider, result, differences, made_at_us)
VALUES (:date, :provider, :result, :differences, :now_us)
ON CONFLICT (date) DO NOTHING;

-- find_reconciliation(date text) -> ReconciliationRow
SELECT date, result
FROM payments_reconciliation
WHERE date = :date;

-- list_reconciliations(before text, limit int) -> ReconciliationRow[]
SELECT date, result
FROM payments_reconciliation
WHERE date < :before
ORDER BY date DESC
LIMIT :limit;
