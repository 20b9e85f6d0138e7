-- A person whose orders are still to be found, from due_us on; done_to is how far that has come.
CREATE TABLE orders_erasure (
    id      TEXT   PRIMARY KEY CHECK (id <> ''),
    user_id TEXT   NOT NULL,
    email   TEXT   NOT NULL,
    due_us  BIGINT NOT NULL,
    done_to TEXT   NOT NULL
);

-- An order whose buyer is to be forgotten once nothing is to be sent to him any more.
ALTER TABLE orders_order ADD COLUMN erase BIGINT NOT NULL DEFAULT 0;
CREATE INDEX orders_order_erase ON orders_order (id) WHERE erase = 1;
