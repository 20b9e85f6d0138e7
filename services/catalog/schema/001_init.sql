-- What is for sale.  A product that was taken off sale keeps its row alone: its handle and its
-- variants' skus are free again.
CREATE TABLE catalog_product (
    id            TEXT   PRIMARY KEY,
    handle        TEXT   NOT NULL CHECK (handle <> ''),
    deleted_at_us BIGINT,
    -- Title, category, vendor and tags in lower case.  What a search looks at stands before what is
    -- long, so that it does not have to read past that.
    category      TEXT   NOT NULL,
    search        TEXT   NOT NULL,
    title         TEXT   NOT NULL CHECK (title <> ''),
    vendor        TEXT   NOT NULL,
    tags          TEXT   NOT NULL,  -- one a line
    version       BIGINT NOT NULL CHECK (version >= 1),
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    description   TEXT   NOT NULL
);

CREATE UNIQUE INDEX catalog_product_handle ON catalog_product (handle)
    WHERE deleted_at_us IS NULL;

CREATE TABLE catalog_variant (
    sku              TEXT   PRIMARY KEY CHECK (length(sku) BETWEEN 1 AND 64),
    product_id       TEXT   NOT NULL REFERENCES catalog_product (id),
    position         BIGINT NOT NULL,
    title            TEXT   NOT NULL,
    price_minor      BIGINT NOT NULL CHECK (price_minor BETWEEN 0 AND 9007199254740991),
    currency         TEXT   NOT NULL CHECK (length(currency) = 3),
    compare_at_minor BIGINT CHECK (compare_at_minor BETWEEN 0 AND 9007199254740991)
);

CREATE UNIQUE INDEX catalog_variant_product ON catalog_variant (product_id, position);

CREATE TABLE catalog_image (
    product_id TEXT   NOT NULL REFERENCES catalog_product (id),
    position   BIGINT NOT NULL,
    url        TEXT   NOT NULL CHECK (url <> ''),
    alt        TEXT   NOT NULL,
    PRIMARY KEY (product_id, position)
);

-- What inventory said last of each item: a projection of its StockUpdated events.
CREATE TABLE catalog_proj_stock (
    sku       TEXT   PRIMARY KEY,
    available BIGINT NOT NULL,
    version   BIGINT NOT NULL
);
