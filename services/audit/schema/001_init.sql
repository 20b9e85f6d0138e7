CREATE TABLE audit_event (
    position        BIGINT PRIMARY KEY,
    event_id        TEXT   NOT NULL UNIQUE,
    topic           TEXT   NOT NULL,
    publisher       TEXT   NOT NULL,
    subject         TEXT   NOT NULL,
    type            TEXT   NOT NULL,
    sequence        BIGINT NOT NULL,
    time_us         BIGINT NOT NULL,
    correlation_id  TEXT   NOT NULL,
    causation_id    TEXT   NOT NULL,
    traceparent     TEXT   NOT NULL,
    payload         BLOB   NOT NULL,
    personal        BLOB   NOT NULL,
    digest          BLOB   NOT NULL
);
CREATE INDEX audit_event_by_topic ON audit_event (topic, position);
CREATE INDEX audit_event_by_subject ON audit_event (subject, position);
