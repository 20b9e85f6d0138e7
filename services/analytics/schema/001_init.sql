-- How often each kind of thing happened on a day in UTC ("2026-11-22").
CREATE TABLE analytics_proj_count (
    day  TEXT   NOT NULL,
    kind TEXT   NOT NULL CHECK (kind IN ('sales', 'views', 'logins', 'failed_logins', 'refunds',
                                         'cancelled', 'checkouts_failed', 'carts_updated',
                                         'carts_abandoned', 'tickets_checked_in')),
    n    BIGINT NOT NULL CHECK (n >= 0),
    PRIMARY KEY (day, kind)
);

-- What was paid, and what went back.
CREATE TABLE analytics_proj_money (
    day      TEXT   NOT NULL,
    kind     TEXT   NOT NULL CHECK (kind IN ('paid', 'refunded')),
    currency TEXT   NOT NULL,
    minor    BIGINT NOT NULL CHECK (minor BETWEEN 0 AND 9007199254740991),
    PRIMARY KEY (day, kind, currency)
);

-- What was sold: goods by their product, tickets by their event.
CREATE TABLE analytics_proj_sold (
    day        TEXT   NOT NULL,
    product_id TEXT   NOT NULL,
    event_id   TEXT   NOT NULL,
    currency   TEXT   NOT NULL,
    quantity   BIGINT NOT NULL CHECK (quantity > 0),
    minor      BIGINT NOT NULL CHECK (minor BETWEEN 0 AND 9007199254740991),
    PRIMARY KEY (day, product_id, event_id, currency)
);

CREATE INDEX analytics_proj_sold_event ON analytics_proj_sold (event_id, day) WHERE event_id <> '';

-- Orders with tickets for an event.
CREATE TABLE analytics_proj_event (
    event_id TEXT   NOT NULL,
    day      TEXT   NOT NULL,
    sales    BIGINT NOT NULL CHECK (sales > 0),
    PRIMARY KEY (event_id, day)
);

CREATE TABLE analytics_proj_viewed (
    day        TEXT   NOT NULL,
    product_id TEXT   NOT NULL,
    n          BIGINT NOT NULL CHECK (n >= 0),
    PRIMARY KEY (day, product_id)
);

-- Under which title a product is shown: its newest.
CREATE TABLE analytics_proj_product (
    product_id TEXT   PRIMARY KEY,
    title      TEXT   NOT NULL,
    version    BIGINT NOT NULL
);

-- What is counted once, however often it is told: "paid ord_…", "cancelled ord_…", "failed
-- chk_…", and of refunds, which have no id of their own, the event's.
CREATE TABLE analytics_proj_counted (
    what TEXT PRIMARY KEY
);
