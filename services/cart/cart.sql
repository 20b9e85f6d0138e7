-- Every statement that cart runs.

-- add_cart(id text, user_id text?, now_us int) -> count
INSERT INTO cart_cart (id, user_id, status, version, checkout_until_us, created_at_us,
    updated_at_us, last_seen_us, may_be_abandoned)
VALUES (:id, :user_id, 'OPEN', 1, 0, :now_us, :now_us, :now_us, 0)
ON CONFLICT (id) DO NOTHING;

-- find_cart(id text) -> CartRow
SELECT id AS "cart.id", status AS "cart.status", version AS "cart.version",
    order_id AS "cart.order_id", created_at_us AS "cart.created_at_us",
    updated_at_us AS "cart.updated_at_us", user_id, merged_into, checkout_id, checkout_until_us,
    last_seen_us
FROM cart_cart
WHERE id = :id;

-- newest_cart(user_id text) -> text
SELECT id
FROM cart_cart
WHERE user_id = :user_id AND status = 'OPEN'
ORDER BY id DESC
LIMIT 1;

-- newest_other_cart(user_id text, but_not text, now_us int) -> text
SELECT id
FROM cart_cart
WHERE user_id = :user_id AND status = 'OPEN' AND id <> :but_not AND checkout_until_us <= :now_us
ORDER BY id DESC
LIMIT 1;

-- list_lines(cart_id text) -> PricedLine[]
SELECT sku, product_id, title, quantity, price_minor AS "price.amount",
    currency AS "price.currency"
FROM cart_line
WHERE cart_id = :cart_id
ORDER BY line_no, sku;

-- list_refused(cart_id text, limit int) -> RefusedLine[]
SELECT sku, quantity, code, at_us
FROM cart_command
WHERE cart_id = :cart_id AND code <> '' AND told = 0
ORDER BY at_us DESC, id DESC
LIMIT :limit;

-- put_line(cart_id text, sku text, product_id text, title text, quantity int, price_minor int,
--     currency text)
INSERT INTO cart_line (cart_id, sku, line_no, product_id, title, quantity, price_minor, currency)
VALUES (:cart_id, :sku,
    (SELECT COALESCE(MAX(line_no), 0) + 1 FROM cart_line WHERE cart_id = :cart_id),
    :product_id, :title, :quantity, :price_minor, :currency)
ON CONFLICT (cart_id, sku) DO UPDATE
SET product_id = excluded.product_id,
    title = excluded.title,
    quantity = excluded.quantity,
    price_minor = excluded.price_minor,
    currency = excluded.currency;

-- remove_line(cart_id text, sku text) -> count
DELETE FROM cart_line
WHERE cart_id = :cart_id AND sku = :sku;

-- remove_lines(cart_id text)
DELETE FROM cart_line
WHERE cart_id = :cart_id;

-- Its lines have changed, by whoever has it from now on.
-- touch_content(id text, user_id text?, now_us int, may_be_abandoned int)
UPDATE cart_cart
SET user_id = :user_id,
    version = version + 1,
    updated_at_us = :now_us,
    last_seen_us = :now_us,
    may_be_abandoned = :may_be_abandoned
WHERE id = :id;

-- touch(id text, now_us int)
UPDATE cart_cart
SET last_seen_us = :now_us
WHERE id = :id AND status = 'OPEN' AND last_seen_us < :now_us;

-- end_merged(id text, user_id text, merged_into text, now_us int) -> count
UPDATE cart_cart
SET status = 'MERGED',
    user_id = :user_id,
    merged_into = :merged_into,
    version = version + 1,
    updated_at_us = :now_us,
    last_seen_us = :now_us,
    may_be_abandoned = 0
WHERE id = :id AND status = 'OPEN';

-- list_open_of(user_id text, limit int) -> CartRow[]
SELECT id AS "cart.id", status AS "cart.status", user_id, last_seen_us
FROM cart_cart
WHERE user_id = :user_id AND status = 'OPEN'
ORDER BY id
LIMIT :limit;

-- Commands.

-- add_command(id text, cart_id text, sku text, quantity int, code text, told int, at_us int) -> count
INSERT INTO cart_command (id, cart_id, sku, quantity, code, told, at_us)
VALUES (:id, :cart_id, :sku, :quantity, :code, :told, :at_us)
ON CONFLICT (id) DO NOTHING;

-- find_command(id text) -> CommandRow
SELECT cart_id, code
FROM cart_command
WHERE id = :id;

-- told_command(id text)
UPDATE cart_command
SET told = 1
WHERE id = :id;

-- Checkout.

-- begin_checkout(id text, checkout_id text, until_us int, now_us int) -> count
UPDATE cart_cart
SET checkout_id = :checkout_id,
    checkout_until_us = :until_us,
    last_seen_us = :now_us
WHERE id = :id AND status = 'OPEN' AND (checkout_until_us <= :now_us OR checkout_id = :checkout_id);

-- leave_checkout(id text, checkout_id text)
UPDATE cart_cart
SET checkout_until_us = 0
WHERE id = :id AND checkout_id = :checkout_id AND status = 'OPEN';

-- Whichever cart it was of.
-- end_checkout(checkout_id text)
UPDATE cart_cart
SET checkout_until_us = 0
WHERE checkout_id = :checkout_id AND status = 'OPEN';

-- close_cart(id text, checkout_id text, order_id text, now_us int) -> count
UPDATE cart_cart
SET status = 'ORDERED',
    checkout_id = :checkout_id,
    checkout_until_us = 0,
    order_id = :order_id,
    version = version + 1,
    updated_at_us = :now_us,
    may_be_abandoned = 0
WHERE id = :id AND status = 'OPEN';

-- The clean-up.

-- list_abandoned(before_us int, limit int) -> CartRow[]
SELECT id AS "cart.id", status AS "cart.status", version AS "cart.version",
    created_at_us AS "cart.created_at_us", updated_at_us AS "cart.updated_at_us", user_id,
    last_seen_us
FROM cart_cart
WHERE may_be_abandoned = 1 AND last_seen_us < :before_us
ORDER BY last_seen_us
LIMIT :limit;

-- mark_abandoned(id text)
UPDATE cart_cart
SET may_be_abandoned = 0
WHERE id = :id;

-- list_expired(before_us int, limit int) -> CartRow[]
SELECT id AS "cart.id", status AS "cart.status", user_id, last_seen_us
FROM cart_cart
WHERE last_seen_us < :before_us
ORDER BY last_seen_us
LIMIT :limit;

-- remove_commands(cart_id text)
DELETE FROM cart_command
WHERE cart_id = :cart_id;

-- remove_cart(id text)
DELETE FROM cart_cart
WHERE id = :id;

-- forget_commands(before_us int, limit int) -> count
DELETE FROM cart_command
WHERE id IN (SELECT id FROM cart_command WHERE at_us < :before_us ORDER BY at_us LIMIT :limit);

-- oldest_command() -> int
SELECT at_us
FROM cart_command
ORDER BY at_us
LIMIT 1;
