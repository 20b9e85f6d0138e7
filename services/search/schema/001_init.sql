-- What catalog said last of each product, as plain text.  Of a deleted one id and version stay, so
-- that what is told late does not bring it back.
CREATE TABLE search_proj_product (
    doc         INTEGER PRIMARY KEY,  -- made from the id
    product_id  TEXT   NOT NULL UNIQUE,
    version     BIGINT NOT NULL,
    deleted     BIGINT NOT NULL CHECK (deleted IN (0, 1)),
    handle      TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    labels      TEXT   NOT NULL,      -- category, vendor, tags, and the variants' titles and skus
    description TEXT   NOT NULL,
    price_minor BIGINT,
    currency    TEXT
);

CREATE VIEW search_live AS
    SELECT doc, title, labels, description FROM search_proj_product WHERE deleted = 0;

-- Its words.  It holds no text of its own, and follows from the table above.
CREATE VIRTUAL TABLE search_index USING fts5 (
    title, labels, description,
    content = 'search_live', content_rowid = 'doc',
    tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
