CREATE TABLE users_user (
    user_id        TEXT   PRIMARY KEY,
    email          TEXT   NOT NULL UNIQUE CHECK (email <> '' AND email = LOWER(email)),
    name           TEXT   NOT NULL,
    created_at_us  BIGINT NOT NULL,
    version        BIGINT NOT NULL CHECK (version > 0)
);
