-- ready_at_us is NULL while a sign-up has not yet set password and role; created_at_us then says
-- since when, and after a while another sign-up may take it over.
CREATE TABLE users_user (
    user_id        TEXT   PRIMARY KEY,
    email          TEXT   NOT NULL UNIQUE CHECK (email <> '' AND email = LOWER(email)),
    name           TEXT   NOT NULL,
    phone          TEXT,
    created_at_us  BIGINT NOT NULL,
    ready_at_us    BIGINT,
    disabled_at_us BIGINT,
    erased_at_us   BIGINT,
    version        BIGINT NOT NULL CHECK (version > 0)
);

CREATE TABLE users_address (
    user_id      TEXT   NOT NULL REFERENCES users_user,
    position     BIGINT NOT NULL,
    name         TEXT   NOT NULL,
    line1        TEXT   NOT NULL,
    line2        TEXT,
    city         TEXT   NOT NULL,
    region       TEXT,
    postal_code  TEXT   NOT NULL,
    country      TEXT   NOT NULL,
    PRIMARY KEY (user_id, position)
);

CREATE TABLE users_invitation (
    invitation_id   TEXT   PRIMARY KEY,
    email           TEXT   NOT NULL CHECK (email = LOWER(email)),
    role            TEXT   NOT NULL CHECK (role IN ('admin', 'superadmin')),
    token_hash      TEXT   NOT NULL UNIQUE,
    invited_by      TEXT   NOT NULL,
    created_at_us   BIGINT NOT NULL,
    expires_at_us   BIGINT NOT NULL,
    accepted_at_us  BIGINT,
    void_at_us      BIGINT
);
CREATE INDEX users_invitation_by_email ON users_invitation (email);

CREATE TABLE users_proj_activity (
    activity_id  TEXT   PRIMARY KEY,
    user_id      TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    detail       TEXT   NOT NULL,
    at_us        BIGINT NOT NULL
);
CREATE INDEX users_proj_activity_by_user ON users_proj_activity (user_id, at_us, activity_id);
