-- Every statement that shipping runs.

-- add_shipment(id text, order_id text, user_id text?, email text?, ship_name text, ship_line1 text, ship_line2 text?,
--     ship_city text, ship_region text?, ship_postal_code text?, ship_country text,
--     created_at_us int) -> count
INSERT INTO shipping_shipment (id, order_id, status, user_id, email, ship_name, ship_line1,
    ship_line2, ship_city, ship_region, ship_postal_code, ship_country, created_at_us, erase, version)
VALUES (:id, :order_id, 'PREPARED', :user_id, :email, :ship_name, :ship_line1, :ship_line2,
    :ship_city, :ship_region, :ship_postal_code, :ship_country, :created_at_us, 0, 1)
ON CONFLICT (order_id) DO NOTHING;

-- add_line(shipment_id text, line_no int, sku text, title text, quantity int)
INSERT INTO shipping_line (shipment_id, line_no, sku, title, quantity)
VALUES (:shipment_id, :line_no, :sku, :title, :quantity);

-- Paid after all, a lapsed order's shipment may leave too.
-- release_shipment(order_id text, now_us int) -> count
UPDATE shipping_shipment
SET status = 'RELEASED', cancel_reason = NULL, released_at_us = :now_us, version = version + 1
WHERE order_id = :order_id
  AND (status = 'PREPARED' OR status = 'CANCELLED' AND cancel_reason = 'lapsed');

-- That an order ended unpaid says nothing of one that was paid since.
-- cancel_shipment(order_id text, reason text, was_paid int) -> count
UPDATE shipping_shipment
SET status = 'CANCELLED', cancel_reason = :reason, version = version + 1
WHERE order_id = :order_id
  AND (status = 'PREPARED' OR status = 'RELEASED' AND :was_paid = 1);

-- end_order(order_id text)
INSERT INTO shipping_ended_order (order_id)
VALUES (:order_id)
ON CONFLICT (order_id) DO NOTHING;

-- count_ended(order_id text) -> int
SELECT COUNT(*) FROM shipping_ended_order WHERE order_id = :order_id;

-- count_shipments(order_id text) -> int
SELECT COUNT(*) FROM shipping_shipment WHERE order_id = :order_id;

-- set_dispatched(id text, carrier text, tracking text?, request_id text, now_us int) -> count
UPDATE shipping_shipment
SET status = 'DISPATCHED', carrier = :carrier, tracking = :tracking,
    dispatch_request = :request_id, dispatched_at_us = :now_us, version = version + 1
WHERE id = :id AND status = 'RELEASED';

-- A person is an account, and whoever is named by its e-mail.
-- mark_user(user_id text)
UPDATE shipping_shipment
SET erase = 1
WHERE user_id = :user_id;

-- mark_email(email text)
UPDATE shipping_shipment
SET erase = 1
WHERE email = :email;

-- mark_order(order_id text)
UPDATE shipping_shipment
SET erase = 1
WHERE order_id = :order_id;

-- What is still to be sent needs its address.
-- erase_marked(user_id text, email text, order_id text)
UPDATE shipping_shipment
SET user_id = NULL, email = NULL, ship_name = NULL, ship_line1 = NULL, ship_line2 = NULL,
    ship_city = NULL, ship_region = NULL, ship_postal_code = NULL, ship_country = NULL,
    version = version + 1
WHERE (user_id = :user_id OR email = :email OR order_id = :order_id) AND erase = 1
  AND status IN ('DISPATCHED', 'CANCELLED');

-- find_dispatch_request(id text) -> text
SELECT COALESCE(dispatch_request, '') FROM shipping_shipment WHERE id = :id;

-- find_shipment(id text) -> Shipment
SELECT id, order_id, status, ship_name AS "address.name", ship_line1 AS "address.line1",
    ship_line2 AS "address.line2", ship_city AS "address.city", ship_region AS "address.region",
    ship_postal_code AS "address.postal_code", ship_country AS "address.country",
    carrier, tracking, cancel_reason, created_at_us, released_at_us, dispatched_at_us, version
FROM shipping_shipment
WHERE id = :id;

-- list_lines(shipment_id text) -> ShipmentLine[]
SELECT sku, title, quantity
FROM shipping_line
WHERE shipment_id = :shipment_id
ORDER BY line_no;

-- list_shipments(before text, limit int) -> Shipment[]
SELECT id, order_id, status, ship_name AS "address.name", ship_line1 AS "address.line1",
    ship_line2 AS "address.line2", ship_city AS "address.city", ship_region AS "address.region",
    ship_postal_code AS "address.postal_code", ship_country AS "address.country",
    carrier, tracking, cancel_reason, created_at_us, released_at_us, dispatched_at_us, version
FROM shipping_shipment
WHERE id < :before
ORDER BY id DESC
LIMIT :limit;

-- list_shipments_in(status text, before text, limit int) -> Shipment[]
SELECT id, order_id, status, ship_name AS "address.name", ship_line1 AS "address.line1",
    ship_line2 AS "address.line2", ship_city AS "address.city", ship_region AS "address.region",
    ship_postal_code AS "address.postal_code", ship_country AS "address.country",
    carrier, tracking, cancel_reason, created_at_us, released_at_us, dispatched_at_us, version
FROM shipping_shipment
WHERE status = :status AND id < :before
ORDER BY id DESC
LIMIT :limit;

-- list_shipments_of(order_id text, status text, before text, limit int) -> Shipment[]
SELECT id, order_id, status, ship_name AS "address.name", ship_line1 AS "address.line1",
    ship_line2 AS "address.line2", ship_city AS "address.city", ship_region AS "address.region",
    ship_postal_code AS "address.postal_code", ship_country AS "address.country",
    carrier, tracking, cancel_reason, created_at_us, released_at_us, dispatched_at_us, version
FROM shipping_shipment
WHERE order_id = :order_id AND (:status = '' OR status = :status) AND id < :before
ORDER BY id DESC
LIMIT :limit;
