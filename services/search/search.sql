-- Every statement that search runs.  Those of search_index are SQLite's full text search (FTS5).

-- find_indexed(product_id text) -> IndexedProduct
SELECT doc, title, labels, description, version, deleted
FROM search_proj_product
WHERE product_id = :product_id;

-- put_product(doc int, product_id text, version int, deleted int, handle text, title text,
--     labels text, description text)
INSERT INTO search_proj_product (doc, product_id, version, deleted, handle, title, labels,
    description)
VALUES (:doc, :product_id, :version, :deleted, :handle, :title, :labels, :description)
ON CONFLICT (product_id) DO UPDATE
SET version = excluded.version, deleted = excluded.deleted, handle = excluded.handle,
    title = excluded.title, labels = excluded.labels, description = excluded.description,
    price_minor = NULL, currency = NULL;

-- set_price(doc int, price_minor int, currency text)
UPDATE search_proj_product
SET price_minor = :price_minor, currency = :currency
WHERE doc = :doc;

-- add_words(doc int, title text, labels text, description text)
INSERT INTO search_index (rowid, title, labels, description)
VALUES (:doc, :title, :labels, :description);

-- The texts must be those that were added.
-- remove_words(doc int, title text, labels text, description text)
INSERT INTO search_index (search_index, rowid, title, labels, description)
VALUES ('delete', :doc, :title, :labels, :description);

-- The best are found first, so that no snippet is made of the others.
-- find_products(query text, limit int) -> FoundProduct[]
SELECT p.product_id AS id, p.handle AS handle, p.title AS title,
    snippet(search_index, 2, '', '', '…', 16) AS snippet,
    p.price_minor AS "price.amount", p.currency AS "price.currency"
FROM (SELECT rowid AS doc, bm25(search_index, 10.0, 4.0, 1.0) AS score
      FROM search_index
      WHERE search_index MATCH :query
      ORDER BY score, doc
      LIMIT :limit) AS best
JOIN search_proj_product AS p ON p.doc = best.doc
JOIN search_index ON search_index.rowid = best.doc
WHERE search_index MATCH :query
ORDER BY best.score, best.doc;
