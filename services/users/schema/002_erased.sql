-- Persons who were erased: what others tell of them late is not kept.
CREATE TABLE users_proj_erased (
    user_id TEXT PRIMARY KEY
);
