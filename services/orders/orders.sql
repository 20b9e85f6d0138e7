-- Every statement that orders runs.

-- add_order(id text, checkout_id text, user_id text?, total_minor int, currency text, email text,
--     phone_number text?, contact_name text?, ship_name text?, ship_line1 text?, ship_line2 text?,
--     ship_city text?, ship_region text?, ship_postal_code text?, ship_country text?,
--     payment_id text?, created_at_us int, pay_by_us int, due_us int)
INSERT INTO orders_order (id, checkout_id, user_id, status, total_minor, currency, email,
    phone_number, contact_name, ship_name, ship_line1, ship_line2, ship_city, ship_region,
    ship_postal_code, ship_country, payment_id, payment_status, created_at_us, pay_by_us, due_us,
    version)
VALUES (:id, :checkout_id, :user_id, 'AWAITING_PAYMENT', :total_minor, :currency, :email,
    :phone_number, :contact_name, :ship_name, :ship_line1, :ship_line2, :ship_city, :ship_region,
    :ship_postal_code, :ship_country, :payment_id, 'pending', :created_at_us, :pay_by_us, :due_us,
    1);

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
-- look_again(id text, due_us int) -> count
UPDATE orders_order
SET due_us = :due_us
WHERE id = :id AND status = 'AWAITING_PAYMENT';

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
