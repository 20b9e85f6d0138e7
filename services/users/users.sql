-- Every statement of users.

-- insert_user(user_id text, email text, name text, created_at_us int) -> count
INSERT INTO users_user (user_id, email, name, created_at_us, version)
VALUES (:user_id, :email, :name, :created_at_us, 1)
ON CONFLICT DO NOTHING;

-- find_user(user_id text) -> User
SELECT user_id AS id, email, name, created_at_us, version
FROM users_user
WHERE user_id = :user_id;

-- find_user_by_email(email text) -> User
SELECT user_id AS id, email, name, created_at_us, version
FROM users_user
WHERE email = :email;
