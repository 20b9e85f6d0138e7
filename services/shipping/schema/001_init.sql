-- What is sent for an order: one shipment an order, with its goods and where they go.
CREATE TABLE shipping_shipment (
    id               TEXT   PRIMARY KEY CHECK (id <> ''),
    order_id         TEXT   NOT NULL UNIQUE CHECK (order_id <> ''),
    status           TEXT   NOT NULL CHECK (status IN ('PREPARED', 'RELEASED', 'DISPATCHED',
                                                       'CANCELLED')),
    user_id          TEXT,
    email            TEXT,
    ship_name        TEXT,
    ship_line1       TEXT,
    ship_line2       TEXT,
    ship_city        TEXT,
    ship_region      TEXT,
    ship_postal_code TEXT,
    ship_country     TEXT,
    carrier          TEXT,
    tracking         TEXT,
    dispatch_request TEXT,   -- the request that dispatched it, so that its repetition is known
    cancel_reason    TEXT,
    created_at_us    BIGINT NOT NULL,
    released_at_us   BIGINT,
    dispatched_at_us BIGINT,
    erase            BIGINT NOT NULL CHECK (erase IN (0, 1)), -- forget who, once it is over
    version          BIGINT NOT NULL CHECK (version >= 1),
    CHECK ((status = 'DISPATCHED') = (dispatched_at_us IS NOT NULL)),
    CHECK ((status = 'DISPATCHED') = (carrier IS NOT NULL)),
    CHECK ((status = 'CANCELLED') = (cancel_reason IS NOT NULL)),
    CHECK (status <> 'DISPATCHED' OR released_at_us IS NOT NULL)
);

CREATE INDEX shipping_shipment_status ON shipping_shipment (status, id);

CREATE INDEX shipping_shipment_user ON shipping_shipment (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX shipping_shipment_email ON shipping_shipment (email) WHERE email IS NOT NULL;

CREATE TABLE shipping_line (
    shipment_id TEXT   NOT NULL REFERENCES shipping_shipment (id),
    line_no     BIGINT NOT NULL,
    sku         TEXT   NOT NULL CHECK (sku <> ''),
    title       TEXT   NOT NULL,
    quantity    BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (shipment_id, line_no)
);

-- Orders that ended before anything else was heard of them: nothing is prepared for them later.
CREATE TABLE shipping_ended_order (
    order_id TEXT PRIMARY KEY
);
