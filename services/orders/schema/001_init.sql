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
