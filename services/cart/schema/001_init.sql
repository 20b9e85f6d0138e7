-- A cart.  A guest's has no user_id: who knows its id may use it.  Until checkout_until_us it is being
-- ordered by checkout_id and takes no change; an ORDERED one was ordered by it.
CREATE TABLE cart_cart (
    id                TEXT   PRIMARY KEY CHECK (id <> ''),
    user_id           TEXT,
    status            TEXT   NOT NULL CHECK (status IN ('OPEN', 'ORDERED', 'MERGED')),
    version           BIGINT NOT NULL CHECK (version >= 1),
    merged_into       TEXT,
    order_id          TEXT,
    checkout_id       TEXT,
    checkout_until_us BIGINT NOT NULL,
    created_at_us     BIGINT NOT NULL,
    updated_at_us     BIGINT NOT NULL,
    last_seen_us      BIGINT NOT NULL,
    -- What is due for the clean-up: it holds something, and nobody was told yet that it is left alone.
    may_be_abandoned  BIGINT NOT NULL CHECK (may_be_abandoned IN (0, 1)),
    CHECK ((status = 'ORDERED') = (order_id IS NOT NULL)),
    CHECK ((status = 'MERGED') = (merged_into IS NOT NULL))
);

CREATE INDEX cart_cart_user ON cart_cart (user_id, id) WHERE status = 'OPEN' AND user_id IS NOT NULL;
CREATE INDEX cart_cart_checkout ON cart_cart (checkout_id) WHERE status = 'OPEN';
CREATE INDEX cart_cart_idle ON cart_cart (last_seen_us) WHERE may_be_abandoned = 1;
CREATE INDEX cart_cart_seen ON cart_cart (last_seen_us);

-- A line at the price and under the title that the cart showed last, in the order of line_no.
CREATE TABLE cart_line (
    cart_id     TEXT   NOT NULL REFERENCES cart_cart (id),
    sku         TEXT   NOT NULL CHECK (sku <> ''),
    line_no     BIGINT NOT NULL,
    product_id  TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    quantity    BIGINT NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    price_minor BIGINT NOT NULL CHECK (price_minor BETWEEN 0 AND 9007199254740991),
    currency    TEXT   NOT NULL CHECK (length(currency) = 3),
    PRIMARY KEY (cart_id, sku)
);

-- What was to be added: applied where code is empty, else refused for it.  The cart shows it while
-- nobody was told.
CREATE TABLE cart_command (
    id       TEXT   PRIMARY KEY CHECK (id <> ''),
    cart_id  TEXT   NOT NULL REFERENCES cart_cart (id),
    sku      TEXT   NOT NULL,
    quantity BIGINT NOT NULL,
    code     TEXT   NOT NULL,
    told     BIGINT NOT NULL CHECK (told IN (0, 1)),
    at_us    BIGINT NOT NULL
);

CREATE INDEX cart_command_cart ON cart_command (cart_id, at_us);
CREATE INDEX cart_command_at ON cart_command (at_us);
