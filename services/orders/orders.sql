-- Every statement that orders runs.

-- add_order(id text, checkout_id text, cart_id text?, user_id text?, total_minor int, currency text, email text,
--     phone_number text?, contact_name text?, ship_name text?, ship_line1 text?, ship_line2 text?,
--     ship_city text?, ship_region text?, ship_postal_code text?, ship_country text?,
--     payment_id text?, payment_reason text?, created_at_us int, pay_by_us int, due_us int)
INSERT INTO orders_order (id, checkout_id, cart_id, user_id, status, total_minor, currency, email,
    phone_number, contact_name, ship_name, ship_line1, ship_line2, ship_city, ship_region,
    ship_postal_code, ship_country, payment_id, payment_status, payment_reason, created_at_us,
    pay_by_us, due_us, version)
VALUES (:id, :checkout_id, :cart_id, :user_id, 'AWAITING_PAYMENT', :total_minor, :currency, :email,
    :phone_number, :contact_name, :ship_name, :ship_line1, :ship_line2, :ship_city, :ship_region,
    :ship_postal_code, :ship_country, :payment_id, 'pending', :payment_reason, :created_at_us,
    :pay_by_us, :due_us, 1);

-- add_line(order_id text, line_no int, sku text?, ticket_type_id text?, event_id text?,
--     product_id text?, title text, quantity int, price_minor int, total_minor int, currency text)
INSERT INTO orders_line (order_id, line_no, sku, ticket_type_id, event_id, product_id, title,
    quantity, price_minor, total_minor, currency)
VALUES (:order_id, :line_no, :sku, :ticket_type_id, :event_id, :product_id, :title,
    :quantity, :price_minor, :total_minor, :currency);

-- find_order(id text) -> Order
SELECT id, checkout_id, user_id, status, cancel_reason, cancel_note,
    total_minor AS "total.amount", currency AS "total.currency",
    email AS "customer.email", phone_number AS "customer.phone_number",
    contact_name AS "customer.name",
    ship_name AS "shipping_address.name", ship_line1 AS "shipping_address.line1",
    ship_line2 AS "shipping_address.line2", ship_city AS "shipping_address.city",
    ship_region AS "shipping_address.region", ship_postal_code AS "shipping_address.postal_code",
    ship_country AS "shipping_address.country",
    payment_id AS "payment.id", payment_status AS "payment.status",
    payment_provider AS "payment.provider", payment_ref AS "payment.ref",
    payment_reason AS "payment.reason",
    created_at_us, pay_by_us, version
FROM orders_order
WHERE id = :id;

-- list_lines(order_id text) -> PricedLine[]
SELECT sku, ticket_type_id, event_id, product_id, title, quantity,
    price_minor AS "price.amount", currency AS "price.currency",
    total_minor AS "total.amount", currency AS "total.currency"
FROM orders_line
WHERE order_id = :order_id
ORDER BY line_no;

-- move_order(id text, version int, status text, cancel_reason text?, cancel_note text?,
--     payment_id text?, payment_status text?, payment_provider text?, payment_ref text?,
--     payment_reason text?, due_us int) -> count
UPDATE orders_order
SET status = :status, cancel_reason = :cancel_reason, cancel_note = :cancel_note,
    payment_id = :payment_id, payment_status = :payment_status,
    payment_provider = :payment_provider, payment_ref = :payment_ref,
    payment_reason = :payment_reason, due_us = :due_us, version = version + 1
WHERE id = :id AND version = :version;

-- Waiting for an outcome changes nothing that anybody sees, so the version stays.
-- status || '': it is found by its key, and never among all that wait, however few those were when
-- PostgreSQL planned it.
-- look_again(id text, due_us int) -> count
UPDATE orders_order
SET due_us = :due_us
WHERE id = :id AND status || '' = 'AWAITING_PAYMENT';

-- list_due(now_us int, limit int) -> Order[]
SELECT id, checkout_id, user_id, status, cancel_reason, cancel_note,
    total_minor AS "total.amount", currency AS "total.currency",
    email AS "customer.email", phone_number AS "customer.phone_number",
    contact_name AS "customer.name",
    ship_name AS "shipping_address.name", ship_line1 AS "shipping_address.line1",
    ship_line2 AS "shipping_address.line2", ship_city AS "shipping_address.city",
    ship_region AS "shipping_address.region", ship_postal_code AS "shipping_address.postal_code",
    ship_country AS "shipping_address.country",
    payment_id AS "payment.id", payment_status AS "payment.status",
    payment_provider AS "payment.provider", payment_ref AS "payment.ref",
    payment_reason AS "payment.reason",
    created_at_us, pay_by_us, version
FROM orders_order
WHERE status = 'AWAITING_PAYMENT' AND due_us <= :now_us
ORDER BY due_us
LIMIT :limit;

-- A crash may have cut off whoever was charging these.
-- look_at_pending_now() -> count
UPDATE orders_order
SET due_us = 0
WHERE status = 'AWAITING_PAYMENT' AND payment_status = 'pending';

-- list_orders(before text, status text, limit int) -> Order[]
SELECT id, checkout_id, user_id, status, cancel_reason, cancel_note,
    total_minor AS "total.amount", currency AS "total.currency",
    email AS "customer.email", phone_number AS "customer.phone_number",
    contact_name AS "customer.name",
    ship_name AS "shipping_address.name", ship_line1 AS "shipping_address.line1",
    ship_line2 AS "shipping_address.line2", ship_city AS "shipping_address.city",
    ship_region AS "shipping_address.region", ship_postal_code AS "shipping_address.postal_code",
    ship_country AS "shipping_address.country",
    payment_id AS "payment.id", payment_status AS "payment.status",
    payment_provider AS "payment.provider", payment_ref AS "payment.ref",
    payment_reason AS "payment.reason",
    created_at_us, pay_by_us, version
FROM orders_order
WHERE id < :before AND (:status = '' OR status = :status)
ORDER BY id DESC
LIMIT :limit;

-- list_orders_of(user_id text, before text, status text, limit int) -> Order[]
SELECT id, checkout_id, user_id, status, cancel_reason, cancel_note,
    total_minor AS "total.amount", currency AS "total.currency",
    email AS "customer.email", phone_number AS "customer.phone_number",
    contact_name AS "customer.name",
    ship_name AS "shipping_address.name", ship_line1 AS "shipping_address.line1",
    ship_line2 AS "shipping_address.line2", ship_city AS "shipping_address.city",
    ship_region AS "shipping_address.region", ship_postal_code AS "shipping_address.postal_code",
    ship_country AS "shipping_address.country",
    payment_id AS "payment.id", payment_status AS "payment.status",
    payment_provider AS "payment.provider", payment_ref AS "payment.ref",
    payment_reason AS "payment.reason",
    created_at_us, pay_by_us, version
FROM orders_order
WHERE user_id = :user_id AND id < :before AND (:status = '' OR status = :status)
ORDER BY id DESC
LIMIT :limit;

-- One whose order is there is not opened again.
-- open_checkout(id text, order_id text, user_id text?, email text, phone_number text?,
--     contact_name text?, ship_name text?, ship_line1 text?, ship_line2 text?, ship_city text?,
--     ship_region text?, ship_postal_code text?, ship_country text?, payment_method_id text,
--     cart_id text?, cart_version int, created_at_us int, due_us int, traceparent text?) -> count
INSERT INTO orders_checkout (id, state, user_id, email, phone_number, contact_name, ship_name,
    ship_line1, ship_line2, ship_city, ship_region, ship_postal_code, ship_country,
    payment_method_id, cart_id, cart_version, created_at_us, due_us, traceparent, version)
SELECT :id, 'OPENED', :user_id, :email, :phone_number, :contact_name, :ship_name, :ship_line1,
    :ship_line2, :ship_city, :ship_region, :ship_postal_code, :ship_country, :payment_method_id,
    :cart_id, :cart_version, :created_at_us, :due_us, :traceparent, 1
WHERE NOT EXISTS (SELECT 1 FROM orders_order WHERE id = :order_id)
ON CONFLICT (id) DO NOTHING;

-- add_checkout_line(checkout_id text, line_no int, sku text?, ticket_type_id text?, quantity int)
INSERT INTO orders_checkout_line (checkout_id, line_no, sku, ticket_type_id, quantity)
VALUES (:checkout_id, :line_no, :sku, :ticket_type_id, :quantity);

-- find_checkout(id text) -> CheckoutRow
SELECT id, state, user_id, email AS "customer.email", phone_number AS "customer.phone_number",
    contact_name AS "customer.name",
    ship_name AS "shipping_address.name", ship_line1 AS "shipping_address.line1",
    ship_line2 AS "shipping_address.line2", ship_city AS "shipping_address.city",
    ship_region AS "shipping_address.region", ship_postal_code AS "shipping_address.postal_code",
    ship_country AS "shipping_address.country",
    payment_method_id, cart_id, cart_version, code, reason, created_at_us, due_us, version
FROM orders_checkout
WHERE id = :id;

-- list_checkout_lines(checkout_id text) -> Line[]
SELECT sku, ticket_type_id, quantity
FROM orders_checkout_line
WHERE checkout_id = :checkout_id
ORDER BY line_no;

-- admit_checkout(id text, user_id text, now_us int) -> count
UPDATE orders_checkout
SET state = 'ADMITTED', due_us = :now_us, version = version + 1
WHERE id = :id AND state = 'OPENED' AND COALESCE(user_id, '') = :user_id;

-- postpone_checkout(id text, due_us int) -> count
UPDATE orders_checkout
SET due_us = :due_us
WHERE id = :id AND state <> 'REFUSED';

-- refuse_checkout(id text, code text, reason text, due_us int) -> count
UPDATE orders_checkout
SET state = 'REFUSED', code = :code, reason = :reason, email = NULL, phone_number = NULL,
    contact_name = NULL, ship_name = NULL, ship_line1 = NULL, ship_line2 = NULL, ship_city = NULL,
    ship_region = NULL, ship_postal_code = NULL, ship_country = NULL, due_us = :due_us,
    version = version + 1
WHERE id = :id AND state <> 'REFUSED';

-- drop_checkout(id text) -> count
DELETE FROM orders_checkout
WHERE id = :id AND state <> 'REFUSED';

-- drop_checkout_lines(checkout_id text)
DELETE FROM orders_checkout_line
WHERE checkout_id = :checkout_id;

-- list_due_checkouts(now_us int, limit int) -> CheckoutRow[]
SELECT id, state, traceparent
FROM orders_checkout
WHERE due_us <= :now_us AND state <> 'REFUSED'
ORDER BY due_us
LIMIT :limit;

-- forget_checkouts(now_us int, rows int) -> count
DELETE FROM orders_checkout
WHERE id IN (SELECT id FROM orders_checkout
             WHERE due_us <= :now_us AND state = 'REFUSED'
             ORDER BY due_us LIMIT :rows);

-- A crash may have cut off whoever worked at these; auth has yet to speak of the others.
-- look_at_checkouts_now(open_until_us int) -> count
UPDATE orders_checkout
SET due_us = CASE WHEN state = 'ADMITTED' THEN 0 ELSE :open_until_us END
WHERE state <> 'REFUSED';

-- list_checkouts_of_cart(cart_id text, limit int) -> CheckoutRow[]
SELECT id, state, traceparent
FROM orders_checkout
WHERE cart_id = :cart_id AND state = 'ADMITTED'
ORDER BY id
LIMIT :limit;

-- An older snapshot never takes a newer one's place.
-- take_snapshot(cart_id text, version int, now_us int) -> count
INSERT INTO orders_cart (cart_id, version, told_at_us)
VALUES (:cart_id, :version, :now_us)
ON CONFLICT (cart_id) DO UPDATE
SET version = excluded.version, told_at_us = excluded.told_at_us
WHERE excluded.version > orders_cart.version;

-- add_snapshot_line(cart_id text, line_no int, sku text?, ticket_type_id text?, quantity int,
--     price_minor int, currency text)
INSERT INTO orders_cart_line (cart_id, line_no, sku, ticket_type_id, quantity, price_minor, currency)
VALUES (:cart_id, :line_no, :sku, :ticket_type_id, :quantity, :price_minor, :currency);

-- drop_snapshot_lines(cart_id text)
DELETE FROM orders_cart_line
WHERE cart_id = :cart_id;

-- find_snapshot(cart_id text) -> CartSnapshot
SELECT cart_id, version
FROM orders_cart
WHERE cart_id = :cart_id;

-- list_snapshot_lines(cart_id text) -> PricedLine[]
SELECT sku, ticket_type_id, quantity, price_minor AS "price.amount", currency AS "price.currency"
FROM orders_cart_line
WHERE cart_id = :cart_id
ORDER BY line_no;

-- list_old_snapshots(before_us int, limit int) -> CartSnapshot[]
SELECT cart_id, version
FROM orders_cart
WHERE told_at_us < :before_us
ORDER BY told_at_us
LIMIT :limit;

-- drop_snapshot(cart_id text)
DELETE FROM orders_cart
WHERE cart_id = :cart_id;

-- Erasing a person.

-- add_erasure(id text, user_id text, email text, due_us int)
INSERT INTO orders_erasure (id, user_id, email, due_us, done_to)
VALUES (:id, :user_id, :email, :due_us, '')
ON CONFLICT (id) DO NOTHING;

-- find_erasure(now_us int) -> ErasureRow
SELECT id, user_id, email, done_to
FROM orders_erasure
WHERE due_us <= :now_us
ORDER BY id
LIMIT 1;

-- move_erasure(id text, done_to text)
UPDATE orders_erasure
SET done_to = :done_to
WHERE id = :id;

-- end_erasure(id text)
DELETE FROM orders_erasure
WHERE id = :id;

-- find_page_end(after text, rows int) -> text
SELECT id
FROM orders_order
WHERE id > :after
ORDER BY id
LIMIT 1 OFFSET :rows;

-- Of what is erased already the e-mail is empty.
-- mark_orders(after text, upto text, user_id text, email text) -> count
UPDATE orders_order
SET erase = 1
WHERE id > :after AND id <= :upto AND email <> '' AND (user_id = :user_id OR LOWER(email) = :email);

-- What is to be paid or sent yet takes its buyer's name.
-- list_erasable(limit int) -> Order[]
SELECT id, checkout_id
FROM orders_order
WHERE erase = 1 AND (status IN ('SHIPPED', 'CANCELLED', 'REFUNDED')
    OR status = 'COMPLETED' AND ship_name IS NULL)
ORDER BY id
LIMIT :limit;

-- erase_order(id text) -> count
UPDATE orders_order
SET email = '', phone_number = NULL, contact_name = NULL, ship_name = NULL, ship_line1 = NULL,
    ship_line2 = NULL, ship_city = NULL, ship_region = NULL, ship_postal_code = NULL,
    ship_country = NULL, cancel_note = NULL, erase = 0, version = version + 1
WHERE id = :id AND erase = 1;

-- list_checkouts_of(user_id text, email text, limit int) -> CheckoutRow[]
SELECT id, state
FROM orders_checkout
WHERE state <> 'REFUSED' AND (user_id = :user_id OR LOWER(email) = :email)
ORDER BY id
LIMIT :limit;
