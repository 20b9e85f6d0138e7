-- What catalog said last of a product (version 0: nothing yet), how many of its newest orders are
-- kept below, and the oldest of them: the later that is, the better the product sells.
CREATE TABLE recommendations_proj_product (
    product_id TEXT   PRIMARY KEY,
    title      TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    deleted    BIGINT NOT NULL CHECK (deleted IN (0, 1)),
    bought     BIGINT NOT NULL,
    since      TEXT   NOT NULL
);

CREATE INDEX recommendations_proj_popular ON recommendations_proj_product
    (bought DESC, since DESC, product_id DESC) WHERE deleted = 0 AND version > 0;

-- The newest orders of a product; which those are, their ids say.
CREATE TABLE recommendations_proj_bought (
    product_id TEXT NOT NULL,
    order_id   TEXT NOT NULL,
    PRIMARY KEY (product_id, order_id)
);

-- And what else was in them.
CREATE TABLE recommendations_proj_together (
    product_id TEXT NOT NULL,
    order_id   TEXT NOT NULL,
    other_id   TEXT NOT NULL,
    PRIMARY KEY (product_id, order_id, other_id)
);

-- The products that a customer looked at last.
CREATE TABLE recommendations_proj_viewed (
    viewer     TEXT   NOT NULL,
    product_id TEXT   NOT NULL,
    at_us      BIGINT NOT NULL,
    PRIMARY KEY (viewer, product_id)
);

-- Persons who were erased: what is told of them late is not kept.
CREATE TABLE recommendations_proj_erased (
    viewer TEXT PRIMARY KEY
);

CREATE INDEX recommendations_proj_viewers ON recommendations_proj_viewed (product_id, at_us DESC);
