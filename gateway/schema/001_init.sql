-- What is known under an Idempotency-Key.  A key is a digest, so its place in the index is random: the
-- row is small.  Answers stand in a table of their own, in the order of their time.
CREATE TABLE gateway_key (
    digest         TEXT   NOT NULL PRIMARY KEY,   -- of the caller's scope and the key
    content_digest TEXT   NOT NULL,               -- of method, path and body
    request_id     TEXT   NOT NULL,
    owner          TEXT   NOT NULL,               -- the process that works or worked on it
    lease_until_us BIGINT NOT NULL                -- until then, without an answer, nobody else may
);
CREATE INDEX gateway_key_by_lease ON gateway_key (lease_until_us);

CREATE TABLE gateway_answer (
    request_id   TEXT   NOT NULL PRIMARY KEY,
    http_status  BIGINT NOT NULL CHECK (http_status BETWEEN 200 AND 499),
    content_type TEXT,
    location     TEXT,
    etag         TEXT,
    body         BLOB   NOT NULL
);
