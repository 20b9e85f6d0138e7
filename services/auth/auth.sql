-- Every statement of auth.

-- find_credential(email text) -> Credential
SELECT user_id, email, name, password_hash
FROM auth_credential
WHERE email = :email;

-- set_credential(user_id text, email text, name text, password_hash text, updated_at_us int)
INSERT INTO auth_credential (user_id, email, name, password_hash, updated_at_us)
VALUES (:user_id, :email, :name, :password_hash, :updated_at_us)
ON CONFLICT (user_id) DO UPDATE
SET email = :email, name = :name, password_hash = :password_hash, updated_at_us = :updated_at_us;

-- insert_session(session_id text, user_id text, created_at_us int, expires_at_us int)
INSERT INTO auth_session (session_id, user_id, created_at_us, expires_at_us)
VALUES (:session_id, :user_id, :created_at_us, :expires_at_us);

-- extend_session(session_id text, expires_at_us int)
UPDATE auth_session
SET expires_at_us = :expires_at_us
WHERE session_id = :session_id;

-- revoke_session(session_id text, now_us int) -> count
UPDATE auth_session
SET revoked_at_us = :now_us
WHERE session_id = :session_id AND revoked_at_us IS NULL;

-- revoke_sessions_of(user_id text, now_us int) -> count
UPDATE auth_session
SET revoked_at_us = :now_us
WHERE user_id = :user_id AND revoked_at_us IS NULL AND expires_at_us > :now_us;

-- session_is_open(session_id text, user_id text, now_us int) -> int
SELECT COUNT(*)
FROM auth_session
WHERE session_id = :session_id AND user_id = :user_id AND revoked_at_us IS NULL
  AND expires_at_us > :now_us;

-- insert_refresh_token(token_hash text, session_id text, expires_at_us int)
INSERT INTO auth_refresh_token (token_hash, session_id, expires_at_us)
VALUES (:token_hash, :session_id, :expires_at_us);

-- find_refresh_token(token_hash text, now_us int) -> RefreshTokenRow
SELECT t.session_id, s.user_id,
       CASE WHEN t.spent_at_us IS NULL THEN 0 ELSE 1 END AS spent,
       CASE WHEN t.expires_at_us > :now_us THEN 0 ELSE 1 END AS expired,
       CASE WHEN s.revoked_at_us IS NULL THEN 0 ELSE 1 END AS revoked
FROM auth_refresh_token t
JOIN auth_session s ON s.session_id = t.session_id
WHERE t.token_hash = :token_hash;

-- spend_refresh_token(token_hash text, now_us int) -> count
UPDATE auth_refresh_token
SET spent_at_us = :now_us
WHERE token_hash = :token_hash AND spent_at_us IS NULL;

-- count_failed_logins(identifier_hash text, after_us int) -> int
SELECT COUNT(*)
FROM auth_failed_login
WHERE identifier_hash = :identifier_hash AND at_us > :after_us;

-- insert_failed_login(failure_id text, identifier_hash text, at_us int)
INSERT INTO auth_failed_login (failure_id, identifier_hash, at_us)
VALUES (:failure_id, :identifier_hash, :at_us);

-- forget_failed_logins(identifier_hash text)
DELETE FROM auth_failed_login
WHERE identifier_hash = :identifier_hash;

-- What has expired goes a few rows at a time, so that nobody waits long for the writer.

-- delete_refresh_tokens(now_us int, rows int) -> count
DELETE FROM auth_refresh_token
WHERE token_hash IN (SELECT token_hash FROM auth_refresh_token
                     WHERE expires_at_us <= :now_us
                     ORDER BY expires_at_us LIMIT :rows);

-- delete_sessions(now_us int, rows int) -> count
DELETE FROM auth_session
WHERE session_id IN (SELECT s.session_id FROM auth_session s
                     WHERE s.expires_at_us <= :now_us
                       AND NOT EXISTS (SELECT 1 FROM auth_refresh_token t
                                       WHERE t.session_id = s.session_id)
                     ORDER BY s.expires_at_us LIMIT :rows);

-- delete_failed_logins(before_us int, rows int) -> count
DELETE FROM auth_failed_login
WHERE failure_id IN (SELECT failure_id FROM auth_failed_login
                     WHERE at_us <= :before_us
                     ORDER BY at_us LIMIT :rows);
