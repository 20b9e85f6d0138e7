-- A person whose data is still to be erased from the events up to a position; the row goes when it is.
CREATE TABLE audit_erasure (
    user_id  TEXT   PRIMARY KEY,
    email    TEXT   NOT NULL,
    upto     BIGINT NOT NULL,
    done_to  BIGINT NOT NULL
);
