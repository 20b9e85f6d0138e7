-- Every statement that analytics runs.

-- count_once(what text) -> count
INSERT INTO analytics_proj_counted (what)
VALUES (:what)
ON CONFLICT (what) DO NOTHING;

-- add_count(day text, kind text, n int)
INSERT INTO analytics_proj_count AS c (day, kind, n)
VALUES (:day, :kind, :n)
ON CONFLICT (day, kind) DO UPDATE
SET n = c.n + excluded.n;

-- add_money(day text, kind text, currency text, minor int)
INSERT INTO analytics_proj_money AS m (day, kind, currency, minor)
VALUES (:day, :kind, :currency, :minor)
ON CONFLICT (day, kind, currency) DO UPDATE
SET minor = m.minor + excluded.minor;

-- add_sold(day text, product_id text, event_id text, currency text, quantity int, minor int)
INSERT INTO analytics_proj_sold AS s (day, product_id, event_id, currency, quantity, minor)
VALUES (:day, :product_id, :event_id, :currency, :quantity, :minor)
ON CONFLICT (day, product_id, event_id, currency) DO UPDATE
SET quantity = s.quantity + excluded.quantity, minor = s.minor + excluded.minor;

-- add_event_sale(event_id text, day text)
INSERT INTO analytics_proj_event AS e (event_id, day, sales)
VALUES (:event_id, :day, 1)
ON CONFLICT (event_id, day) DO UPDATE
SET sales = e.sales + 1;

-- add_viewed(day text, product_id text, n int)
INSERT INTO analytics_proj_viewed AS v (day, product_id, n)
VALUES (:day, :product_id, :n)
ON CONFLICT (day, product_id) DO UPDATE
SET n = v.n + excluded.n;

-- put_title(product_id text, title text, version int)
INSERT INTO analytics_proj_product AS p (product_id, title, version)
VALUES (:product_id, :title, :version)
ON CONFLICT (product_id) DO UPDATE
SET title = excluded.title, version = excluded.version
WHERE p.version < excluded.version;

-- list_counts(first text, last text) -> CountRow[]
SELECT kind, CAST(SUM(n) AS BIGINT) AS n
FROM analytics_proj_count
WHERE day BETWEEN :first AND :last
GROUP BY kind;

-- list_day_counts(first text, last text) -> CountRow[]
SELECT day, kind, n
FROM analytics_proj_count
WHERE day BETWEEN :first AND :last AND kind IN ('sales', 'views')
ORDER BY day;

-- list_money(first text, last text) -> MoneyRow[]
SELECT kind, currency AS "sum.currency", CAST(SUM(minor) AS BIGINT) AS "sum.amount"
FROM analytics_proj_money
WHERE day BETWEEN :first AND :last
GROUP BY kind, currency
ORDER BY currency;

-- list_day_money(first text, last text) -> MoneyRow[]
SELECT day, currency AS "sum.currency", minor AS "sum.amount"
FROM analytics_proj_money
WHERE day BETWEEN :first AND :last AND kind = 'paid'
ORDER BY day, currency;

-- list_event_days(event_id text, first text, last text) -> CountRow[]
SELECT day, 'sales' AS kind, sales AS n
FROM analytics_proj_event
WHERE event_id = :event_id AND day BETWEEN :first AND :last
ORDER BY day;

-- list_event_money(event_id text, first text, last text) -> MoneyRow[]
SELECT day, 'paid' AS kind, currency AS "sum.currency", CAST(SUM(minor) AS BIGINT) AS "sum.amount"
FROM analytics_proj_sold
WHERE event_id = :event_id AND event_id <> '' AND day BETWEEN :first AND :last
GROUP BY day, currency
ORDER BY day, currency;

-- count_tickets(event_id text, first text, last text) -> int
SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT)
FROM analytics_proj_sold
WHERE event_id <> '' AND (:event_id = '' OR event_id = :event_id)
  AND day BETWEEN :first AND :last;

-- list_top(first text, last text, limit int) -> TopProduct[]
SELECT s.product_id AS product_id, COALESCE(p.title, '') AS title,
    CAST(SUM(s.quantity) AS BIGINT) AS quantity
FROM analytics_proj_sold AS s
LEFT JOIN analytics_proj_product AS p ON p.product_id = s.product_id
WHERE s.day BETWEEN :first AND :last AND s.product_id <> ''
GROUP BY s.product_id, p.title
ORDER BY quantity DESC, s.product_id
LIMIT :limit;

-- list_product_money(product_id text, first text, last text) -> Money[]
SELECT currency, CAST(SUM(minor) AS BIGINT) AS amount
FROM analytics_proj_sold
WHERE product_id = :product_id AND day BETWEEN :first AND :last
GROUP BY currency
ORDER BY currency;

-- count_product_views(product_id text, first text, last text) -> int
SELECT CAST(COALESCE(SUM(n), 0) AS BIGINT)
FROM analytics_proj_viewed
WHERE product_id = :product_id AND day BETWEEN :first AND :last;
