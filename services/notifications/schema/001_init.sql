-- A mail, one for each dedup_key: its template and what it is about ("receipt:ord_…").  It waits while it
-- is queued and is looked at when due_us has come.  message_id is the mail's own for all its tries.
CREATE TABLE notifications_mail (
    id            TEXT   PRIMARY KEY CHECK (id <> ''),
    dedup_key     TEXT   NOT NULL UNIQUE,
    message_id    TEXT   NOT NULL,
    template      TEXT   NOT NULL,
    status        TEXT   NOT NULL CHECK (status IN ('queued', 'sent', 'kept', 'failed')),
    order_id      TEXT,
    user_id       TEXT,
    recipient     TEXT   NOT NULL,
    facts         BLOB   NOT NULL,
    content       TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    attempts      BIGINT NOT NULL CHECK (attempts >= 0),
    created_at_us BIGINT NOT NULL,
    due_us        BIGINT NOT NULL,
    sent_at_us    BIGINT NOT NULL,
    CHECK (status NOT IN ('sent', 'kept') OR sent_at_us > 0),
    CHECK (status <> 'failed' OR reason <> '')
);
CREATE INDEX notifications_mail_due ON notifications_mail (due_us) WHERE status = 'queued';
CREATE INDEX notifications_mail_order ON notifications_mail (order_id, id) WHERE order_id IS NOT NULL;
CREATE INDEX notifications_mail_user ON notifications_mail (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX notifications_mail_erasing ON notifications_mail (id) WHERE reason = 'erasing';

-- Whom a mail about an order or to an account goes to: id is ord_… or usr_….
CREATE TABLE notifications_contact (
    id      TEXT PRIMARY KEY CHECK (id <> ''),
    email   TEXT NOT NULL,
    name    TEXT NOT NULL,
    user_id TEXT
);
CREATE INDEX notifications_contact_email ON notifications_contact (email);

-- What recipients' digests in events are keyed by.
CREATE TABLE notifications_key (
    id    BIGINT PRIMARY KEY CHECK (id = 1),
    bytes BLOB   NOT NULL
);
