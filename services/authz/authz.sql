-- Every statement of authz.

-- ensure_subject(user_id text)
INSERT INTO authz_subject (user_id, version, permissions_digest)
VALUES (:user_id, 0, '')
ON CONFLICT DO NOTHING;

-- find_subject(user_id text) -> Subject
SELECT user_id, version, permissions_digest
FROM authz_subject
WHERE user_id = :user_id;

-- set_permissions(user_id text, permissions_digest text)
UPDATE authz_subject
SET version = version + 1, permissions_digest = :permissions_digest
WHERE user_id = :user_id;

-- insert_role(user_id text, role text)
INSERT INTO authz_role (user_id, role)
VALUES (:user_id, :role)
ON CONFLICT DO NOTHING;

-- list_roles(user_id text) -> Role[]
SELECT role
FROM authz_role
WHERE user_id = :user_id
ORDER BY role;

-- delete_roles(user_id text)
DELETE FROM authz_role
WHERE user_id = :user_id;

-- count_other_superadmins(user_id text) -> int
SELECT COUNT(*)
FROM authz_role
WHERE role = 'superadmin' AND user_id <> :user_id;
