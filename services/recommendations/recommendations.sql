-- Every statement that recommendations runs.

-- put_product(product_id text, title text, version int, deleted int)
INSERT INTO recommendations_proj_product AS p (product_id, title, version, deleted, bought, since)
VALUES (:product_id, :title, :version, :deleted, 0, '')
ON CONFLICT (product_id) DO UPDATE
SET title = excluded.title, version = excluded.version, deleted = excluded.deleted
WHERE p.version < excluded.version;

-- add_bought(product_id text, order_id text)
INSERT INTO recommendations_proj_bought (product_id, order_id)
VALUES (:product_id, :order_id)
ON CONFLICT (product_id, order_id) DO NOTHING;

-- add_together(product_id text, order_id text, other_id text)
INSERT INTO recommendations_proj_together (product_id, order_id, other_id)
VALUES (:product_id, :order_id, :other_id)
ON CONFLICT (product_id, order_id, other_id) DO NOTHING;

-- before_last counts the orders that stay, less one.
-- keep_newest_bought(product_id text, before_last int)
DELETE FROM recommendations_proj_bought
WHERE product_id = :product_id
  AND order_id < (SELECT b.order_id FROM recommendations_proj_bought AS b
                  WHERE b.product_id = :product_id
                  ORDER BY b.order_id DESC LIMIT 1 OFFSET :before_last);

-- keep_newest_together(product_id text)
DELETE FROM recommendations_proj_together
WHERE product_id = :product_id
  AND order_id < (SELECT MIN(b.order_id) FROM recommendations_proj_bought AS b
                  WHERE b.product_id = :product_id);

-- count_bought(product_id text)
INSERT INTO recommendations_proj_product (product_id, title, version, deleted, bought, since)
SELECT :product_id, '', 0, 0, COUNT(*), COALESCE(MIN(b.order_id), '')
FROM recommendations_proj_bought AS b
WHERE b.product_id = :product_id
ON CONFLICT (product_id) DO UPDATE
SET bought = excluded.bought, since = excluded.since;

-- put_viewed(viewer text, product_id text, at_us int)
INSERT INTO recommendations_proj_viewed AS v (viewer, product_id, at_us)
SELECT :viewer, :product_id, :at_us
WHERE NOT EXISTS (SELECT 1 FROM recommendations_proj_erased AS e WHERE e.viewer = :viewer)
ON CONFLICT (viewer, product_id) DO UPDATE
SET at_us = excluded.at_us
WHERE v.at_us < excluded.at_us;

-- keep_newest_viewed(viewer text, stay int)
DELETE FROM recommendations_proj_viewed
WHERE viewer = :viewer
  AND product_id IN (SELECT v.product_id FROM recommendations_proj_viewed AS v
                     WHERE v.viewer = :viewer
                     ORDER BY v.at_us DESC, v.product_id DESC LIMIT 1000 OFFSET :stay);

-- add_erased(viewer text)
INSERT INTO recommendations_proj_erased (viewer)
VALUES (:viewer)
ON CONFLICT (viewer) DO NOTHING;

-- forget_viewed(viewer text)
DELETE FROM recommendations_proj_viewed
WHERE viewer = :viewer;

-- To be bought together counts as much as three customers' looks.
-- list_related(product_id text, viewers int, limit int) -> Recommendation[]
SELECT p.product_id AS product_id, p.title AS title, CAST(SUM(r.score) AS BIGINT) AS score
FROM (SELECT t.other_id AS product_id, 3 * COUNT(*) AS score
      FROM recommendations_proj_together AS t
      WHERE t.product_id = :product_id
      GROUP BY t.other_id
      UNION ALL
      SELECT o.product_id AS product_id, COUNT(*) AS score
      FROM (SELECT v.viewer FROM recommendations_proj_viewed AS v
            WHERE v.product_id = :product_id
            ORDER BY v.at_us DESC LIMIT :viewers) AS w
      JOIN recommendations_proj_viewed AS o ON o.viewer = w.viewer
      GROUP BY o.product_id) AS r
JOIN recommendations_proj_product AS p ON p.product_id = r.product_id
WHERE p.product_id <> :product_id AND p.deleted = 0 AND p.version > 0
GROUP BY p.product_id, p.title
ORDER BY score DESC, p.product_id DESC
LIMIT :limit;

-- list_popular(limit int) -> Recommendation[]
SELECT product_id, title
FROM recommendations_proj_product
WHERE deleted = 0 AND version > 0
ORDER BY bought DESC, since DESC, product_id DESC
LIMIT :limit;
