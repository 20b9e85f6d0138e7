-- insert_key(digest text, content_digest text, request_id text, owner text,
--            lease_until_us int) -> count
INSERT INTO gateway_key (digest, content_digest, request_id, owner, lease_until_us)
VALUES (:digest, :content_digest, :request_id, :owner, :lease_until_us)
ON CONFLICT (digest) DO NOTHING;

-- find_key(digest text) -> KeptAnswer
SELECT k.content_digest, k.request_id, k.owner, k.lease_until_us,
       a.http_status, a.content_type, a.location, a.etag, a.body
FROM gateway_key k LEFT JOIN gateway_answer a ON a.request_id = k.request_id
WHERE k.digest = :digest;

-- take_key(digest text, owner text, lease_until_us int)
UPDATE gateway_key SET owner = :owner, lease_until_us = :lease_until_us
WHERE digest = :digest;

-- free_key(digest text)
DELETE FROM gateway_key
WHERE digest = :digest;

-- insert_answer(request_id text, http_status int, content_type text?, location text?, etag text?,
--               body blob)
INSERT INTO gateway_answer (request_id, http_status, content_type, location, etag, body)
VALUES (:request_id, :http_status, :content_type, :location, :etag, :body);

-- forget_answers(before_us int, most int)
DELETE FROM gateway_answer
WHERE request_id IN (SELECT request_id FROM gateway_key WHERE lease_until_us < :before_us
                     ORDER BY lease_until_us, digest LIMIT :most);

-- forget_keys(before_us int, most int) -> count
DELETE FROM gateway_key
WHERE digest IN (SELECT digest FROM gateway_key WHERE lease_until_us < :before_us
                 ORDER BY lease_until_us, digest LIMIT :most);
