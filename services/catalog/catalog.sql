-- A product, with its variants and images.

-- get_product(id text) -> ProductRow
SELECT id AS "product.id", handle AS "product.handle", title AS "product.title",
       description AS "product.description", category AS "product.category",
       vendor AS "product.vendor", tags, version AS "product.version",
       created_at_us AS "product.created_at_us", updated_at_us AS "product.updated_at_us"
FROM catalog_product
WHERE id = :id AND deleted_at_us IS NULL;

-- get_product_by_handle(handle text) -> ProductRow
SELECT id AS "product.id", handle AS "product.handle", title AS "product.title",
       description AS "product.description", category AS "product.category",
       vendor AS "product.vendor", tags, version AS "product.version",
       created_at_us AS "product.created_at_us", updated_at_us AS "product.updated_at_us"
FROM catalog_product
WHERE handle = :handle AND deleted_at_us IS NULL;

-- list_variants(product_id text) -> Variant[]
SELECT v.sku, v.title, v.price_minor AS "price.amount", v.currency AS "price.currency",
       v.compare_at_minor AS "compare_at_price.amount",
       CASE WHEN v.compare_at_minor IS NOT NULL THEN v.currency END AS "compare_at_price.currency",
       s.available
FROM catalog_variant AS v
LEFT JOIN catalog_proj_stock AS s ON s.sku = v.sku
WHERE v.product_id = :product_id
ORDER BY v.position;

-- list_images(product_id text) -> Image[]
SELECT url, alt
FROM catalog_image
WHERE product_id = :product_id
ORDER BY position;

-- A page of products, newest first, and the variants and images of the products in it: a page
-- reaches from its first product's id down to its last one's.

-- list_products(before_id text, rows_max int) -> ProductRow[]
SELECT id AS "product.id", handle AS "product.handle", title AS "product.title",
       description AS "product.description", category AS "product.category",
       vendor AS "product.vendor", tags, version AS "product.version",
       created_at_us AS "product.created_at_us", updated_at_us AS "product.updated_at_us"
FROM catalog_product
WHERE id < :before_id AND deleted_at_us IS NULL
ORDER BY id DESC
LIMIT :rows_max;

-- page_variants(first_id text, last_id text) -> VariantRow[]
SELECT v.product_id, v.sku AS "variant.sku", v.title AS "variant.title",
       v.price_minor AS "variant.price.amount", v.currency AS "variant.price.currency",
       v.compare_at_minor AS "variant.compare_at_price.amount",
       CASE WHEN v.compare_at_minor IS NOT NULL THEN v.currency
       END AS "variant.compare_at_price.currency",
       s.available AS "variant.available"
FROM catalog_variant AS v
LEFT JOIN catalog_proj_stock AS s ON s.sku = v.sku
WHERE v.product_id BETWEEN :last_id AND :first_id
ORDER BY v.product_id DESC, v.position;

-- page_images(first_id text, last_id text) -> ImageRow[]
SELECT product_id, url AS "image.url", alt AS "image.alt"
FROM catalog_image
WHERE product_id BETWEEN :last_id AND :first_id
ORDER BY product_id DESC, position;

-- The same for the products of a category ("" is any) that match all words; a word not given is %.

-- find_products(before_id text, category text, word1 text, word2 text, word3 text, word4 text,
--               word5 text, word6 text, word7 text, word8 text, rows_max int) -> ProductRow[]
SELECT id AS "product.id", handle AS "product.handle", title AS "product.title",
       description AS "product.description", category AS "product.category",
       vendor AS "product.vendor", tags, version AS "product.version",
       created_at_us AS "product.created_at_us", updated_at_us AS "product.updated_at_us"
FROM catalog_product
WHERE id < :before_id AND deleted_at_us IS NULL
  AND (:category = '' OR category = :category)
  AND search LIKE :word1 ESCAPE '\' AND search LIKE :word2 ESCAPE '\'
  AND search LIKE :word3 ESCAPE '\' AND search LIKE :word4 ESCAPE '\'
  AND search LIKE :word5 ESCAPE '\' AND search LIKE :word6 ESCAPE '\'
  AND search LIKE :word7 ESCAPE '\' AND search LIKE :word8 ESCAPE '\'
ORDER BY id DESC
LIMIT :rows_max;

-- found_variants(first_id text, last_id text, category text, word1 text, word2 text, word3 text,
--                word4 text, word5 text, word6 text, word7 text, word8 text) -> VariantRow[]
SELECT v.product_id, v.sku AS "variant.sku", v.title AS "variant.title",
       v.price_minor AS "variant.price.amount", v.currency AS "variant.price.currency",
       v.compare_at_minor AS "variant.compare_at_price.amount",
       CASE WHEN v.compare_at_minor IS NOT NULL THEN v.currency
       END AS "variant.compare_at_price.currency",
       s.available AS "variant.available"
FROM catalog_variant AS v
LEFT JOIN catalog_proj_stock AS s ON s.sku = v.sku
WHERE v.product_id IN (
    SELECT id
    FROM catalog_product
    WHERE id BETWEEN :last_id AND :first_id AND deleted_at_us IS NULL
      AND (:category = '' OR category = :category)
      AND search LIKE :word1 ESCAPE '\' AND search LIKE :word2 ESCAPE '\'
      AND search LIKE :word3 ESCAPE '\' AND search LIKE :word4 ESCAPE '\'
      AND search LIKE :word5 ESCAPE '\' AND search LIKE :word6 ESCAPE '\'
      AND search LIKE :word7 ESCAPE '\' AND search LIKE :word8 ESCAPE '\')
ORDER BY v.product_id DESC, v.position;

-- found_images(first_id text, last_id text, category text, word1 text, word2 text, word3 text,
--              word4 text, word5 text, word6 text, word7 text, word8 text) -> ImageRow[]
SELECT product_id, url AS "image.url", alt AS "image.alt"
FROM catalog_image
WHERE product_id IN (
    SELECT id
    FROM catalog_product
    WHERE id BETWEEN :last_id AND :first_id AND deleted_at_us IS NULL
      AND (:category = '' OR category = :category)
      AND search LIKE :word1 ESCAPE '\' AND search LIKE :word2 ESCAPE '\'
      AND search LIKE :word3 ESCAPE '\' AND search LIKE :word4 ESCAPE '\'
      AND search LIKE :word5 ESCAPE '\' AND search LIKE :word6 ESCAPE '\'
      AND search LIKE :word7 ESCAPE '\' AND search LIKE :word8 ESCAPE '\')
ORDER BY product_id DESC, position;

-- Changes.

-- insert_product(id text, handle text, title text, description text, category text, vendor text,
--                tags text, search text, now_us int)
INSERT INTO catalog_product (id, handle, title, description, category, vendor, tags, search,
                             version, created_at_us, updated_at_us)
VALUES (:id, :handle, :title, :description, :category, :vendor, :tags, :search, 1, :now_us,
        :now_us);

-- update_product(id text, title text, description text, category text, vendor text, tags text,
--                search text, version int, now_us int)
UPDATE catalog_product
SET title = :title,
    description = :description,
    category = :category,
    vendor = :vendor,
    tags = :tags,
    search = :search,
    version = :version,
    updated_at_us = :now_us
WHERE id = :id;

-- retire_product(id text, version int, now_us int)
UPDATE catalog_product
SET version = :version,
    updated_at_us = :now_us,
    deleted_at_us = :now_us
WHERE id = :id;

-- insert_variant(sku text, product_id text, position int, title text, price_minor int,
--                currency text)
INSERT INTO catalog_variant (sku, product_id, position, title, price_minor, currency)
VALUES (:sku, :product_id, :position, :title, :price_minor, :currency);

-- update_variant(sku text, title text, price_minor int, currency text)
UPDATE catalog_variant
SET title = :title,
    price_minor = :price_minor,
    currency = :currency,
    compare_at_minor = NULL
WHERE sku = :sku;

-- set_compare_at(sku text, compare_at_minor int)
UPDATE catalog_variant
SET compare_at_minor = :compare_at_minor
WHERE sku = :sku;

-- delete_variants(product_id text)
DELETE FROM catalog_variant
WHERE product_id = :product_id;

-- insert_image(product_id text, position int, url text, alt text)
INSERT INTO catalog_image (product_id, position, url, alt)
VALUES (:product_id, :position, :url, :alt);

-- delete_images(product_id text)
DELETE FROM catalog_image
WHERE product_id = :product_id;

-- Questions.

-- sku_owner(sku text) -> SkuOwner
SELECT v.product_id, p.handle
FROM catalog_variant AS v
JOIN catalog_product AS p ON p.id = v.product_id
WHERE v.sku = :sku;

-- product_title(id text) -> text
SELECT title
FROM catalog_product
WHERE id = :id AND deleted_at_us IS NULL;

-- price_of(sku text) -> PricedLine
SELECT v.sku, v.product_id,
       CASE WHEN v.title = p.title THEN p.title ELSE p.title || ' (' || v.title || ')' END AS title,
       v.price_minor AS "price.amount", v.currency AS "price.currency"
FROM catalog_variant AS v
JOIN catalog_product AS p ON p.id = v.product_id
WHERE v.sku = :sku;

-- What inventory said.  An older word never replaces a newer one.
-- show_stock(sku text, available int, version int)
INSERT INTO catalog_proj_stock (sku, available, version)
VALUES (:sku, :available, :version)
ON CONFLICT (sku) DO UPDATE
SET available = excluded.available,
    version = excluded.version
WHERE excluded.version > catalog_proj_stock.version;
