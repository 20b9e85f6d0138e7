-- The keys of auth where several processes share its store: what tokens are signed with, and digests
-- made with.  Otherwise they are files of the data folder.
CREATE TABLE auth_secret (
    name       TEXT   PRIMARY KEY CHECK (name <> ''),
    content    TEXT   NOT NULL CHECK (content <> ''),
    made_at_us BIGINT NOT NULL
);
