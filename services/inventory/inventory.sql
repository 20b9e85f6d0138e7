-- insert_item(sku text, on_hand int) -> count
INSERT INTO inventory_item (sku, on_hand, reserved, owed, sold, version)
VALUES (:sku, :on_hand, 0, 0, 0, 1)
ON CONFLICT (sku) DO NOTHING;

-- get_item(sku text) -> Stock
SELECT sku, on_hand, reserved, on_hand - reserved AS available, sold, version, owed
FROM inventory_item
WHERE sku = :sku;

-- hold_item(sku text, quantity int) -> Stock
UPDATE inventory_item
SET reserved = reserved + :quantity,
    version = version + 1
WHERE sku = :sku AND on_hand - reserved >= :quantity
RETURNING sku, on_hand, reserved, on_hand - reserved AS available, sold, version, owed;

-- What is owed is forgiven first: the shelf has nothing of it to give back.
-- let_go_item(sku text, quantity int) -> Stock
UPDATE inventory_item
SET reserved = CASE WHEN owed >= :quantity THEN reserved ELSE reserved + owed - :quantity END,
    owed = CASE WHEN owed >= :quantity THEN owed - :quantity ELSE 0 END,
    version = version + 1
WHERE sku = :sku
RETURNING sku, on_hand, reserved, on_hand - reserved AS available, sold, version, owed;

-- sell_held_item(sku text, quantity int) -> Stock
UPDATE inventory_item
SET on_hand = on_hand - :quantity,
    reserved = reserved - :quantity,
    sold = sold + :quantity,
    version = version + 1
WHERE sku = :sku AND reserved >= :quantity
RETURNING sku, on_hand, reserved, on_hand - reserved AS available, sold, version, owed;

-- sell_free_item(sku text, quantity int) -> Stock
UPDATE inventory_item
SET on_hand = on_hand - :quantity,
    sold = sold + :quantity,
    version = version + 1
WHERE sku = :sku AND on_hand - reserved >= :quantity
RETURNING sku, on_hand, reserved, on_hand - reserved AS available, sold, version, owed;

-- The shelf has on_hand from now on, and of_sold of it came back from buyers.  What is promised
-- stays promised: as much of it as is there is reserved, the rest is owed.
-- set_item(sku text, on_hand int, of_sold int) -> Stock
UPDATE inventory_item
SET on_hand = :on_hand,
    reserved = CASE WHEN reserved + owed < :on_hand THEN reserved + owed ELSE :on_hand END,
    owed = CASE WHEN reserved + owed < :on_hand THEN 0 ELSE reserved + owed - :on_hand END,
    sold = sold - :of_sold,
    version = version + 1
WHERE sku = :sku
RETURNING sku, on_hand, reserved, on_hand - reserved AS available, sold, version, owed;

-- insert_receipt(request_id text, sku text, quantity int, received_at_us int) -> count
INSERT INTO inventory_receipt (request_id, sku, quantity, received_at_us)
VALUES (:request_id, :sku, :quantity, :received_at_us)
ON CONFLICT (request_id, sku) DO NOTHING;

-- insert_reservation(reservation_id text, order_id text, state text, expires_at_us int) -> count
INSERT INTO inventory_reservation (reservation_id, order_id, state, expires_at_us)
VALUES (:reservation_id, :order_id, :state, :expires_at_us)
ON CONFLICT (reservation_id) DO NOTHING;

-- insert_reservation_line(reservation_id text, sku text, quantity int)
INSERT INTO inventory_reservation_line (reservation_id, sku, quantity)
VALUES (:reservation_id, :sku, :quantity)
ON CONFLICT (reservation_id, sku) DO NOTHING;

-- get_reservation(reservation_id text) -> Reservation
SELECT reservation_id, order_id, state, expires_at_us
FROM inventory_reservation
WHERE reservation_id = :reservation_id;

-- list_reservation_lines(reservation_id text) -> ReservedLine[]
SELECT sku, quantity
FROM inventory_reservation_line
WHERE reservation_id = :reservation_id
ORDER BY sku;

-- bind_reservation(reservation_id text) -> count
UPDATE inventory_reservation
SET state = 'BOUND'
WHERE reservation_id = :reservation_id AND state = 'HELD';

-- sell_reservation(reservation_id text) -> Reservation
UPDATE inventory_reservation
SET state = 'SOLD'
WHERE reservation_id = :reservation_id AND state IN ('HELD', 'BOUND')
RETURNING reservation_id, order_id, state, expires_at_us;

-- resell_reservation(reservation_id text) -> count
UPDATE inventory_reservation
SET state = 'SOLD'
WHERE reservation_id = :reservation_id AND state = 'RELEASED';

-- release_reservation(reservation_id text) -> Reservation
UPDATE inventory_reservation
SET state = 'RELEASED'
WHERE reservation_id = :reservation_id AND state IN ('HELD', 'BOUND')
RETURNING reservation_id, order_id, state, expires_at_us;

-- lapse_reservation(reservation_id text, now_us int) -> Reservation
UPDATE inventory_reservation
SET state = 'RELEASED'
WHERE reservation_id = :reservation_id AND state = 'HELD' AND expires_at_us <= :now_us
RETURNING reservation_id, order_id, state, expires_at_us;

-- unsell_reservation(reservation_id text) -> Reservation
UPDATE inventory_reservation
SET state = 'RELEASED'
WHERE reservation_id = :reservation_id AND state = 'SOLD'
RETURNING reservation_id, order_id, state, expires_at_us;

-- find_sold_reservation(order_id text) -> Reservation
SELECT reservation_id, order_id, state, expires_at_us
FROM inventory_reservation
WHERE order_id = :order_id AND state = 'SOLD';

-- list_lapsed(now_us int, rows_max int) -> Reservation[]
SELECT reservation_id, order_id, state, expires_at_us
FROM inventory_reservation
WHERE state = 'HELD' AND expires_at_us <= :now_us
ORDER BY expires_at_us
LIMIT :rows_max;
