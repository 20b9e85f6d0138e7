-- Whoever authz has heard of.  The digest tells whether what the roles permit has changed since
-- UserRolesUpdated last told it.
CREATE TABLE authz_subject (
    user_id             TEXT   PRIMARY KEY,
    version             BIGINT NOT NULL CHECK (version >= 0),
    permissions_digest  TEXT   NOT NULL
);
CREATE TABLE authz_role (
    user_id  TEXT NOT NULL REFERENCES authz_subject,
    role     TEXT NOT NULL CHECK (role IN ('customer', 'admin', 'superadmin')),
    PRIMARY KEY (user_id, role)
);
