CREATE TABLE auth_credential (
    user_id        TEXT   PRIMARY KEY,
    email          TEXT   NOT NULL UNIQUE CHECK (email = LOWER(email)),
    name           TEXT   NOT NULL,
    password_hash  TEXT   NOT NULL,
    updated_at_us  BIGINT NOT NULL,
    opened_at_us   BIGINT NOT NULL,
    shut_at_us     BIGINT
);

CREATE TABLE auth_session (
    session_id     TEXT   PRIMARY KEY,
    user_id        TEXT   NOT NULL,
    ip             TEXT   NOT NULL,
    user_agent     TEXT   NOT NULL,
    created_at_us  BIGINT NOT NULL,
    expires_at_us  BIGINT NOT NULL,
    revoked_at_us  BIGINT
);
CREATE INDEX auth_session_by_user ON auth_session (user_id);
CREATE INDEX auth_session_by_expiry ON auth_session (expires_at_us);

-- A spent token is kept until it expires, so that its reuse is told from nonsense.
CREATE TABLE auth_refresh_token (
    token_hash     TEXT   PRIMARY KEY,
    session_id     TEXT   NOT NULL REFERENCES auth_session,
    expires_at_us  BIGINT NOT NULL,
    spent_at_us    BIGINT
);
CREATE INDEX auth_refresh_token_by_session ON auth_refresh_token (session_id);
CREATE INDEX auth_refresh_token_by_expiry ON auth_refresh_token (expires_at_us);

CREATE TABLE auth_failed_login (
    failure_id       TEXT   PRIMARY KEY,
    identifier_hash  TEXT   NOT NULL,
    at_us            BIGINT NOT NULL
);
CREATE INDEX auth_failed_login_by_identifier ON auth_failed_login (identifier_hash, at_us);
CREATE INDEX auth_failed_login_by_time ON auth_failed_login (at_us);

-- One for each request, also where there is no such account: it costs the same, and the same bound holds.
CREATE TABLE auth_password_reset (
    reset_id         TEXT   PRIMARY KEY,
    identifier_hash  TEXT   NOT NULL,
    user_id          TEXT,
    token_hash       TEXT   NOT NULL UNIQUE,
    created_at_us    BIGINT NOT NULL,
    expires_at_us    BIGINT NOT NULL,
    spent_at_us      BIGINT
);
CREATE INDEX auth_password_reset_by_identifier ON auth_password_reset (identifier_hash, created_at_us);
CREATE INDEX auth_password_reset_by_user ON auth_password_reset (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX auth_password_reset_by_expiry ON auth_password_reset (expires_at_us);
