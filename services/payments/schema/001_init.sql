-- What a buyer will pay with, from its lodging until an attempt takes it away.  The token stands
-- nowhere else.
CREATE TABLE payments_method (
    id           TEXT   PRIMARY KEY CHECK (id <> ''),
    provider     TEXT   NOT NULL,
    token        TEXT   NOT NULL,
    lodged_at_us BIGINT NOT NULL
);
CREATE INDEX payments_method_lodged ON payments_method (lodged_at_us);

-- An attempt to charge an order.  Its row is durable before its provider is asked; look_us is when
-- the reconciliation has to look at it while it is pending.  claimed_minor is the sum of all its
-- refunds, refunded_minor of those that are done.
CREATE TABLE payments_attempt (
    id                TEXT   PRIMARY KEY CHECK (id <> ''),
    order_id          TEXT   NOT NULL CHECK (order_id <> ''),
    payment_method_id TEXT   NOT NULL,
    provider          TEXT   NOT NULL,
    status            TEXT   NOT NULL CHECK (status IN ('pending', 'completed', 'failed')),
    ref               TEXT,
    reason            TEXT,
    amount_minor      BIGINT NOT NULL CHECK (amount_minor BETWEEN 1 AND 9007199254740991),
    currency          TEXT   NOT NULL,
    claimed_minor     BIGINT NOT NULL CHECK (claimed_minor BETWEEN 0 AND amount_minor),
    refunded_minor    BIGINT NOT NULL CHECK (refunded_minor BETWEEN 0 AND claimed_minor),
    asked             BIGINT NOT NULL CHECK (asked IN (0, 1)),
    hold_until_us     BIGINT NOT NULL,
    look_us           BIGINT NOT NULL,
    created_at_us     BIGINT NOT NULL,
    settled_at_us     BIGINT NOT NULL,
    CHECK (status = 'completed' OR claimed_minor = 0)
);

-- One charge per order: while an attempt may have taken the money, or has, there is no other.
CREATE UNIQUE INDEX payments_attempt_live ON payments_attempt (order_id)
    WHERE status IN ('pending', 'completed');
CREATE INDEX payments_attempt_failed ON payments_attempt (order_id) WHERE status = 'failed';
CREATE INDEX payments_attempt_settled ON payments_attempt (settled_at_us, id)
    WHERE settled_at_us > 0;
CREATE INDEX payments_attempt_pending ON payments_attempt (look_us) WHERE status = 'pending';

-- Money on its way back.  Its id is the key that its provider is asked with.
CREATE TABLE payments_refund (
    id            TEXT   PRIMARY KEY CHECK (id <> ''),
    attempt_id    TEXT   NOT NULL REFERENCES payments_attempt (id),
    order_id      TEXT   NOT NULL,
    provider      TEXT   NOT NULL,
    status        TEXT   NOT NULL CHECK (status IN ('pending', 'done', 'failed')),
    amount_minor  BIGINT NOT NULL CHECK (amount_minor > 0),
    currency      TEXT   NOT NULL,
    restock       BIGINT NOT NULL CHECK (restock IN (0, 1)),
    reason        TEXT   NOT NULL,
    look_us       BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    settled_at_us BIGINT NOT NULL
);
CREATE INDEX payments_refund_settled ON payments_refund (settled_at_us, id)
    WHERE settled_at_us > 0;
CREATE INDEX payments_refund_pending ON payments_refund (look_us) WHERE status = 'pending';

-- Orders that are cancelled for good: what is or will be captured for them goes back.  open while
-- the job has yet to see that nothing more can come.
CREATE TABLE payments_closed (
    order_id     TEXT   PRIMARY KEY CHECK (order_id <> ''),
    reason       TEXT   NOT NULL,
    closed_at_us BIGINT NOT NULL,
    look_us      BIGINT NOT NULL,
    open         BIGINT NOT NULL CHECK (open IN (0, 1))
);
CREATE INDEX payments_closed_open ON payments_closed (look_us) WHERE open = 1;

-- What the comparison of a UTC day with the provider's books found; result is a Reconciliation.
CREATE TABLE payments_reconciliation (
    date        TEXT   PRIMARY KEY CHECK (date <> ''),
    provider    TEXT   NOT NULL,
    result      TEXT   NOT NULL,
    differences BIGINT NOT NULL CHECK (differences >= 0),
    made_at_us  BIGINT NOT NULL
);
