-- Every statement that notifications runs.

-- add_mail(id text, dedup_key text, message_id text, template text, order_id text?, user_id text?,
--     recipient text, facts blob, now_us int, traceparent text?) -> count
INSERT INTO notifications_mail (id, dedup_key, message_id, template, status, order_id, user_id,
    recipient, facts, content, reason, attempts, created_at_us, due_us, sent_at_us, traceparent)
VALUES (:id, :dedup_key, :message_id, :template, 'queued', :order_id, :user_id, :recipient, :facts,
    '', '', 0, :now_us, :now_us, 0, :traceparent)
ON CONFLICT (dedup_key) DO NOTHING;

-- find_mail(id text) -> MailRow
SELECT id, message_id, template, status, order_id, user_id, recipient, facts, content, reason,
    attempts, created_at_us, sent_at_us
FROM notifications_mail
WHERE id = :id;

-- list_mails(before text, rows int) -> MailRow[]
SELECT id, message_id, template, status, order_id, user_id, recipient, facts, content, reason,
    attempts, created_at_us, sent_at_us
FROM notifications_mail
WHERE id < :before
ORDER BY id DESC
LIMIT :rows;

-- list_mails_of_order(order_id text, before text, rows int) -> MailRow[]
SELECT id, message_id, template, status, order_id, user_id, recipient, facts, content, reason,
    attempts, created_at_us, sent_at_us
FROM notifications_mail
WHERE order_id = :order_id AND id < :before
ORDER BY id DESC
LIMIT :rows;

-- list_due(now_us int, rows int) -> MailRow[]
SELECT id, message_id, template, status, order_id, user_id, recipient, facts, content, reason,
    attempts, created_at_us, sent_at_us, traceparent
FROM notifications_mail
WHERE status = 'queued' AND due_us <= :now_us
ORDER BY due_us
LIMIT :rows;

-- The content follows when it is sent; sent_at_us stays until then.
-- queue_again(id text, now_us int) -> count
UPDATE notifications_mail
SET status = 'queued', due_us = :now_us, attempts = 0, reason = ''
WHERE id = :id AND recipient <> '';

-- status || '': it is found by its key, and never among all that are queued, however few those
-- were when PostgreSQL planned it.
-- mark_sent(id text, status text, content text, now_us int) -> count
UPDATE notifications_mail
SET status = :status, content = :content, sent_at_us = :now_us, attempts = attempts + 1, reason = ''
WHERE id = :id AND status || '' = 'queued';

-- mark_failed(id text, content text, reason text) -> count
UPDATE notifications_mail
SET status = 'failed', content = :content, reason = :reason, attempts = attempts + 1
WHERE id = :id AND status || '' = 'queued';

-- mark_later(id text, reason text, due_us int)
UPDATE notifications_mail
SET reason = :reason, due_us = :due_us, attempts = attempts + 1
WHERE id = :id AND status || '' = 'queued';

-- keep_contact(id text, email text, name text, user_id text?)
INSERT INTO notifications_contact (id, email, name, user_id)
VALUES (:id, :email, :name, :user_id)
ON CONFLICT (id) DO UPDATE SET email = excluded.email, name = excluded.name;

-- find_contact(id text) -> ContactRow
SELECT email, name, user_id
FROM notifications_contact
WHERE id = :id;

-- Its file, if there is one, goes soon after.
-- erase_mails(user_id text, email text, nothing blob)
UPDATE notifications_mail
SET status = CASE status WHEN 'queued' THEN 'failed' ELSE status END, reason = 'erasing',
    recipient = '', facts = :nothing, content = ''
WHERE recipient <> '' AND (user_id = :user_id OR lower(recipient) = lower(:email));

-- erase_mails_of_order(order_id text, nothing blob)
UPDATE notifications_mail
SET status = CASE status WHEN 'queued' THEN 'failed' ELSE status END, reason = 'erasing',
    recipient = '', facts = :nothing, content = ''
WHERE recipient <> '' AND order_id = :order_id;

-- erase_contact(id text)
UPDATE notifications_contact
SET email = '', name = ''
WHERE id = :id;

-- erase_contacts(user_id text, email text)
UPDATE notifications_contact
SET email = '', name = ''
WHERE user_id = :user_id OR lower(email) = lower(:email);

-- list_erasing(rows int) -> MailRow[]
SELECT id FROM notifications_mail WHERE reason = 'erasing' ORDER BY id LIMIT :rows;

-- mark_erased(id text)
UPDATE notifications_mail SET reason = 'erased' WHERE id = :id;

-- add_key(bytes blob)
INSERT INTO notifications_key (id, bytes) VALUES (1, :bytes)
ON CONFLICT (id) DO NOTHING;

-- find_key() -> KeyRow
SELECT bytes FROM notifications_key WHERE id = 1;
