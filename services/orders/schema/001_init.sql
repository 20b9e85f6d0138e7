-- An order, which is also the checkout that made it: its id is made from the checkout's.  Its stock
-- is reserved until pay_by_us; due_us is when the sweep has to look at it while it awaits payment.
-- The payment_ columns tell of the attempt that counts: the paid one, else the newest.
CREATE TABLE orders_order (
    id               TEXT   PRIMARY KEY CHECK (id <> ''),
    checkout_id      TEXT   NOT NULL CHECK (checkout_id <> ''),
    user_id          TEXT,
    status           TEXT   NOT NULL CHECK (status IN ('AWAITING_PAYMENT', 'PAID', 'COMPLETED',
                                                       'SHIPPED', 'CANCELLED', 'REFUNDED')),
    cancel_reason    TEXT,
    cancel_note      TEXT,
    total_minor      BIGINT NOT NULL CHECK (total_minor BETWEEN 0 AND 9007199254740991),
    currency         TEXT   NOT NULL,
    email            TEXT   NOT NULL,
    phone_number     TEXT,
    contact_name     TEXT,
    ship_name        TEXT,
    ship_line1       TEXT,
    ship_line2       TEXT,
    ship_city        TEXT,
    ship_region      TEXT,
    ship_postal_code TEXT,
    ship_country     TEXT,
    payment_id       TEXT,
    payment_status   TEXT,
    payment_provider TEXT,
    payment_ref      TEXT,
    payment_reason   TEXT,
    created_at_us    BIGINT NOT NULL,
    pay_by_us        BIGINT NOT NULL,
    due_us           BIGINT NOT NULL,
    version          BIGINT NOT NULL CHECK (version >= 1),
    CHECK (status <> 'CANCELLED' OR cancel_reason IS NOT NULL),
    CHECK (status NOT IN ('PAID', 'COMPLETED', 'SHIPPED') OR
           payment_status IN ('completed', 'partly_refunded', 'refunded'))
);

CREATE INDEX orders_order_due ON orders_order (due_us) WHERE status = 'AWAITING_PAYMENT';
CREATE INDEX orders_order_user ON orders_order (user_id, id) WHERE user_id IS NOT NULL;

-- A checkout that events take further, until its order is recorded: then the order's row tells of it and
-- this one goes.  One that was refused stays for a while with its code, and without what is personal.
CREATE TABLE orders_checkout (
    id                TEXT   PRIMARY KEY CHECK (id <> ''),
    state             TEXT   NOT NULL CHECK (state IN ('OPENED', 'ADMITTED', 'REFUSED')),
    user_id           TEXT,
    email             TEXT,
    phone_number      TEXT,
    contact_name      TEXT,
    ship_name         TEXT,
    ship_line1        TEXT,
    ship_line2        TEXT,
    ship_city         TEXT,
    ship_region       TEXT,
    ship_postal_code  TEXT,
    ship_country      TEXT,
    payment_method_id TEXT   NOT NULL,
    cart_id           TEXT,
    cart_version      BIGINT NOT NULL,
    code              TEXT,
    reason            TEXT,
    created_at_us     BIGINT NOT NULL,
    due_us            BIGINT NOT NULL,
    version           BIGINT NOT NULL CHECK (version >= 1),
    CHECK ((state = 'REFUSED') = (code IS NOT NULL)),
    CHECK ((state = 'REFUSED') = (email IS NULL))
);
CREATE INDEX orders_checkout_due ON orders_checkout (due_us);
CREATE INDEX orders_checkout_cart ON orders_checkout (cart_id) WHERE cart_id IS NOT NULL;

CREATE TABLE orders_checkout_line (
    checkout_id    TEXT   NOT NULL REFERENCES orders_checkout (id),
    line_no        BIGINT NOT NULL,
    sku            TEXT,
    ticket_type_id TEXT,
    quantity       BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (checkout_id, line_no)
);

-- Each cart as CartUpdated told of it last: what a checkout by events is made from.
CREATE TABLE orders_cart (
    cart_id    TEXT   PRIMARY KEY CHECK (cart_id <> ''),
    version    BIGINT NOT NULL,
    told_at_us BIGINT NOT NULL
);
CREATE INDEX orders_cart_told ON orders_cart (told_at_us);

CREATE TABLE orders_cart_line (
    cart_id        TEXT   NOT NULL REFERENCES orders_cart (cart_id),
    line_no        BIGINT NOT NULL,
    sku            TEXT,
    ticket_type_id TEXT,
    quantity       BIGINT NOT NULL,
    price_minor    BIGINT NOT NULL,
    currency       TEXT   NOT NULL,
    PRIMARY KEY (cart_id, line_no)
);

-- What was ordered, goods by sku or tickets by their type, at the price and under the title of that
-- moment.
CREATE TABLE orders_line (
    order_id       TEXT   NOT NULL REFERENCES orders_order (id),
    line_no        BIGINT NOT NULL,
    sku            TEXT,
    ticket_type_id TEXT,
    event_id       TEXT,
    product_id     TEXT,
    title          TEXT   NOT NULL,
    quantity       BIGINT NOT NULL CHECK (quantity > 0),
    price_minor    BIGINT NOT NULL CHECK (price_minor >= 0),
    total_minor    BIGINT NOT NULL CHECK (total_minor = price_minor * quantity),
    currency       TEXT   NOT NULL,
    PRIMARY KEY (order_id, line_no),
    CHECK ((sku IS NULL) <> (ticket_type_id IS NULL))
);
