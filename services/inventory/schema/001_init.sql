-- What is on the shelf, and what of it is promised.  The key is a sku or a ticket type's id.
--
-- reserved is what is promised and there; owed what is promised and not there, which only a count
-- that found less than was promised brings about.  So reserved + owed is all that is promised, and
-- no statement can promise more than is on hand without breaking a constraint.
CREATE TABLE inventory_item (
    sku       TEXT   PRIMARY KEY CHECK (sku <> ''),
    on_hand   BIGINT NOT NULL CHECK (on_hand BETWEEN 0 AND 1000000000000),
    reserved  BIGINT NOT NULL CHECK (reserved BETWEEN 0 AND on_hand),
    owed      BIGINT NOT NULL CHECK (owed >= 0),
    sold      BIGINT NOT NULL CHECK (sold >= 0),
    version   BIGINT NOT NULL CHECK (version >= 1),
    CHECK (owed = 0 OR reserved = on_hand)
);

-- A promise of all its lines together.  HELD ends by the clock; BOUND belongs to an order that is
-- recorded, which ends it.
CREATE TABLE inventory_reservation (
    reservation_id TEXT   PRIMARY KEY CHECK (reservation_id <> ''),
    order_id       TEXT   NOT NULL,
    state          TEXT   NOT NULL CHECK (state IN ('HELD', 'BOUND', 'SOLD', 'RELEASED')),
    expires_at_us  BIGINT NOT NULL
);

CREATE INDEX inventory_reservation_held ON inventory_reservation (expires_at_us)
    WHERE state = 'HELD';
CREATE INDEX inventory_reservation_sold ON inventory_reservation (order_id)
    WHERE state = 'SOLD';

CREATE TABLE inventory_reservation_line (
    reservation_id TEXT   NOT NULL REFERENCES inventory_reservation (reservation_id),
    sku            TEXT   NOT NULL REFERENCES inventory_item (sku),
    quantity       BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (reservation_id, sku)
);

-- Goods received, once per request, so that a retried restock adds nothing twice.
CREATE TABLE inventory_receipt (
    request_id     TEXT   NOT NULL,
    sku            TEXT   NOT NULL REFERENCES inventory_item (sku),
    quantity       BIGINT NOT NULL CHECK (quantity > 0),
    received_at_us BIGINT NOT NULL,
    PRIMARY KEY (request_id, sku)
);
