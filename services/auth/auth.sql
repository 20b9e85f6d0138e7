-- Every statement of auth.

-- find_credential(email text) -> Credential
SELECT user_id, email, name, password_hash
FROM auth_credential
WHERE email = :email AND shut_at_us IS NULL;

-- find_credential_of(user_id text) -> Credential
SELECT user_id, email, name, password_hash
FROM auth_credential
WHERE user_id = :user_id AND shut_at_us IS NULL;

-- name_of_user(user_id text) -> text
SELECT name
FROM auth_credential
WHERE user_id = :user_id;

-- set_credential(user_id text, email text, name text, password_hash text, now_us int)
INSERT INTO auth_credential (user_id, email, name, password_hash, updated_at_us, opened_at_us)
VALUES (:user_id, :email, :name, :password_hash, :now_us, :now_us)
ON CONFLICT (user_id) DO UPDATE
SET email = :email, name = :name, password_hash = :password_hash, updated_at_us = :now_us,
    opened_at_us = :now_us, shut_at_us = NULL;

-- set_password(user_id text, password_hash text, now_us int) -> count
UPDATE auth_credential
SET password_hash = :password_hash, updated_at_us = :now_us
WHERE user_id = :user_id AND shut_at_us IS NULL;

-- rename_credential(user_id text, name text)
UPDATE auth_credential
SET name = :name
WHERE user_id = :user_id;

-- What was opened again since then stays open.
-- shut_credential(user_id text, now_us int) -> count
UPDATE auth_credential
SET shut_at_us = :now_us
WHERE user_id = :user_id AND shut_at_us IS NULL AND opened_at_us <= :now_us;

-- delete_credential(user_id text)
DELETE FROM auth_credential
WHERE user_id = :user_id;

-- forget_origins(user_id text)
UPDATE auth_session
SET ip = '', user_agent = ''
WHERE user_id = :user_id;

-- insert_reset(reset_id text, identifier_hash text, user_id text?, token_hash text,
--     created_at_us int, expires_at_us int)
INSERT INTO auth_password_reset (reset_id, identifier_hash, user_id, token_hash, created_at_us,
    expires_at_us)
VALUES (:reset_id, :identifier_hash, :user_id, :token_hash, :created_at_us, :expires_at_us);

-- count_resets(identifier_hash text, after_us int) -> int
SELECT COUNT(*)
FROM auth_password_reset
WHERE identifier_hash = :identifier_hash AND created_at_us > :after_us;

-- find_reset(reset_id text, now_us int) -> ResetLink
SELECT r.user_id, c.email, c.name, r.expires_at_us
FROM auth_password_reset r
JOIN auth_credential c ON c.user_id = r.user_id
WHERE r.reset_id = :reset_id AND r.spent_at_us IS NULL AND r.expires_at_us > :now_us
  AND c.shut_at_us IS NULL;

-- find_reset_by_token(token_hash text, now_us int) -> ResetLink
SELECT r.user_id, c.email, c.name, r.expires_at_us
FROM auth_password_reset r
JOIN auth_credential c ON c.user_id = r.user_id
WHERE r.token_hash = :token_hash AND r.spent_at_us IS NULL AND r.expires_at_us > :now_us
  AND c.shut_at_us IS NULL;

-- spend_reset(token_hash text, now_us int) -> count
UPDATE auth_password_reset
SET spent_at_us = :now_us
WHERE token_hash = :token_hash AND spent_at_us IS NULL AND expires_at_us > :now_us;

-- spend_resets_of(user_id text, now_us int)
UPDATE auth_password_reset
SET spent_at_us = :now_us
WHERE user_id = :user_id AND spent_at_us IS NULL;

-- insert_session(session_id text, user_id text, ip text, user_agent text, created_at_us int,
--     expires_at_us int)
INSERT INTO auth_session (session_id, user_id, ip, user_agent, created_at_us, expires_at_us)
VALUES (:session_id, :user_id, :ip, :user_agent, :created_at_us, :expires_at_us);

-- list_sessions(user_id text, now_us int, limit int) -> Session[]
SELECT session_id AS id, ip, user_agent, created_at_us, expires_at_us
FROM auth_session
WHERE user_id = :user_id AND revoked_at_us IS NULL AND expires_at_us > :now_us
ORDER BY session_id DESC
LIMIT :limit;

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

-- oldest_failed_login(identifier_hash text, after_us int) -> int
SELECT at_us
FROM auth_failed_login
WHERE identifier_hash = :identifier_hash AND at_us > :after_us
ORDER BY at_us
LIMIT 1;

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

-- delete_resets(now_us int, rows int) -> count
DELETE FROM auth_password_reset
WHERE reset_id IN (SELECT reset_id FROM auth_password_reset
                   WHERE expires_at_us <= :now_us
                   ORDER BY expires_at_us LIMIT :rows);

-- Where several processes share the store: what they sign, and digest, with.

-- find_secret(name text) -> text
SELECT content
FROM auth_secret
WHERE name = :name;

-- insert_secret(name text, content text, now_us int)
INSERT INTO auth_secret (name, content, made_at_us)
VALUES (:name, :content, :now_us);

-- list_secrets(rows int) -> SecretName[]
SELECT name
FROM auth_secret
ORDER BY name
LIMIT :rows;

-- delete_secret(name text)
DELETE FROM auth_secret
WHERE name = :name;
