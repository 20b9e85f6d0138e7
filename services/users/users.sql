-- Every statement of users.

-- insert_user(user_id text, email text, name text, now_us int) -> count
INSERT INTO users_user (user_id, email, name, created_at_us, ready_at_us, version)
VALUES (:user_id, :email, :name, :now_us, :now_us, 1)
ON CONFLICT DO NOTHING;

-- An account that is not ready yet.
-- begin_user(user_id text, email text, name text, now_us int) -> count
INSERT INTO users_user (user_id, email, name, created_at_us, version)
VALUES (:user_id, :email, :name, :now_us, 1)
ON CONFLICT DO NOTHING;

-- A sign-up that broke off is taken over.
-- take_over_user(email text, name text, now_us int, before_us int) -> count
UPDATE users_user
SET name = :name, created_at_us = :now_us
WHERE email = :email AND ready_at_us IS NULL AND created_at_us < :before_us;

-- give_up_user(user_id text) -> count
UPDATE users_user
SET created_at_us = 0
WHERE user_id = :user_id AND ready_at_us IS NULL;

-- finish_user(user_id text, now_us int) -> count
UPDATE users_user
SET ready_at_us = :now_us, created_at_us = :now_us
WHERE user_id = :user_id AND ready_at_us IS NULL;

-- enable_user(user_id text)
UPDATE users_user
SET disabled_at_us = NULL, version = version + 1
WHERE user_id = :user_id AND disabled_at_us IS NOT NULL;

-- find_user(user_id text) -> User
SELECT user_id AS id, email, name, phone, created_at_us, version,
       CASE WHEN disabled_at_us IS NULL THEN 0 ELSE 1 END AS disabled
FROM users_user
WHERE user_id = :user_id AND ready_at_us IS NOT NULL;

-- find_user_by_email(email text) -> User
SELECT user_id AS id, email, name, phone, created_at_us, version,
       CASE WHEN disabled_at_us IS NULL THEN 0 ELSE 1 END AS disabled
FROM users_user
WHERE email = :email;

-- pattern is LIKE's, with \ before what stands for itself.
-- list_users(pattern text, before_id text, limit int) -> User[]
SELECT user_id AS id, email, name, phone, created_at_us, version,
       CASE WHEN disabled_at_us IS NULL THEN 0 ELSE 1 END AS disabled
FROM users_user
WHERE user_id < :before_id AND ready_at_us IS NOT NULL AND erased_at_us IS NULL
  AND email LIKE :pattern ESCAPE '\'
ORDER BY user_id DESC
LIMIT :limit;

-- set_profile(user_id text, version int, name text, phone text?) -> count
UPDATE users_user
SET name = :name, phone = :phone, version = version + 1
WHERE user_id = :user_id AND version = :version;

-- disable_user(user_id text, now_us int) -> count
UPDATE users_user
SET disabled_at_us = :now_us, version = version + 1
WHERE user_id = :user_id AND disabled_at_us IS NULL;

-- erase_user(user_id text, email text, now_us int) -> count
UPDATE users_user
SET email = :email, name = '', phone = NULL, erased_at_us = :now_us, disabled_at_us = :now_us,
    version = version + 1
WHERE user_id = :user_id AND erased_at_us IS NULL;

-- list_addresses(user_id text) -> Address[]
SELECT name, line1, line2, city, region, postal_code, country
FROM users_address
WHERE user_id = :user_id
ORDER BY position;

-- delete_addresses(user_id text)
DELETE FROM users_address
WHERE user_id = :user_id;

-- insert_address(user_id text, position int, name text, line1 text, line2 text?, city text,
--     region text?, postal_code text, country text)
INSERT INTO users_address (user_id, position, name, line1, line2, city, region, postal_code,
    country)
VALUES (:user_id, :position, :name, :line1, :line2, :city, :region, :postal_code, :country);

-- insert_invitation(invitation_id text, email text, role text, token_hash text, invited_by text,
--     now_us int, expires_at_us int) -> count
INSERT INTO users_invitation (invitation_id, email, role, token_hash, invited_by, created_at_us,
    expires_at_us)
VALUES (:invitation_id, :email, :role, :token_hash, :invited_by, :now_us, :expires_at_us)
ON CONFLICT DO NOTHING;

-- void_invitations_of(email text, except_id text, now_us int)
UPDATE users_invitation
SET void_at_us = :now_us
WHERE email = :email AND invitation_id <> :except_id AND accepted_at_us IS NULL
  AND void_at_us IS NULL;

-- What somebody who is no longer staff has offered is void.
-- void_invitations_by(invited_by text, now_us int)
UPDATE users_invitation
SET void_at_us = :now_us
WHERE invited_by = :invited_by AND accepted_at_us IS NULL AND void_at_us IS NULL;

-- erase_invitations_of(email text, now_us int)
UPDATE users_invitation
SET email = '', void_at_us = COALESCE(void_at_us, :now_us)
WHERE email = :email;

-- find_invitation(invitation_id text, now_us int) -> Invitation
SELECT invitation_id AS id, email, role, created_at_us, expires_at_us
FROM users_invitation
WHERE invitation_id = :invitation_id AND accepted_at_us IS NULL AND void_at_us IS NULL
  AND expires_at_us > :now_us;

-- find_invitation_by_token(token_hash text, now_us int) -> Invitation
SELECT invitation_id AS id, email, role, created_at_us, expires_at_us
FROM users_invitation
WHERE token_hash = :token_hash AND accepted_at_us IS NULL AND void_at_us IS NULL
  AND expires_at_us > :now_us;

-- accept_invitation(invitation_id text, now_us int) -> count
UPDATE users_invitation
SET accepted_at_us = :now_us
WHERE invitation_id = :invitation_id AND accepted_at_us IS NULL AND void_at_us IS NULL;

-- reopen_invitation(invitation_id text)
UPDATE users_invitation
SET accepted_at_us = NULL
WHERE invitation_id = :invitation_id;

-- insert_activity(activity_id text, user_id text, kind text, detail text, at_us int)
INSERT INTO users_proj_activity (activity_id, user_id, kind, detail, at_us)
SELECT :activity_id, :user_id, :kind, :detail, :at_us
WHERE NOT EXISTS (SELECT 1 FROM users_proj_erased AS e WHERE e.user_id = :user_id)
ON CONFLICT DO NOTHING;

-- add_erased(user_id text)
INSERT INTO users_proj_erased (user_id)
VALUES (:user_id)
ON CONFLICT (user_id) DO NOTHING;

-- trim_activity(user_id text, keep int)
DELETE FROM users_proj_activity
WHERE activity_id IN (SELECT activity_id FROM users_proj_activity
                      WHERE user_id = :user_id
                      ORDER BY at_us DESC, activity_id DESC
                      LIMIT 100 OFFSET :keep);

-- delete_activity(user_id text)
DELETE FROM users_proj_activity
WHERE user_id = :user_id;

-- Behind the entry of this id, or from the newest on where there is none.
-- list_activity(user_id text, after_id text, limit int) -> Activity[]
SELECT a.activity_id AS id, a.kind, a.detail, a.at_us
FROM users_proj_activity a
LEFT JOIN users_proj_activity b ON b.activity_id = :after_id AND b.user_id = :user_id
WHERE a.user_id = :user_id
  AND (b.activity_id IS NULL OR a.at_us < b.at_us
       OR (a.at_us = b.at_us AND a.activity_id < b.activity_id))
ORDER BY a.at_us DESC, a.activity_id DESC
LIMIT :limit;
