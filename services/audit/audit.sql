-- Every statement of audit.

-- insert_event(position int, event_id text, topic text, publisher text, subject text, type text,
--              sequence int, time_us int, correlation_id text, causation_id text, traceparent text,
--              payload blob, personal blob, digest blob)
INSERT INTO audit_event (position, event_id, topic, publisher, subject, type, sequence, time_us,
                         correlation_id, causation_id, traceparent, payload, personal, digest)
VALUES (:position, :event_id, :topic, :publisher, :subject, :type, :sequence, :time_us,
        :correlation_id, :causation_id, :traceparent, :payload, :personal, :digest);

-- find_newest() -> AuditRow
SELECT position, digest
FROM audit_event
ORDER BY position DESC
LIMIT 1;

-- list_events(after int, rows int) -> AuditRow[]
SELECT position, event_id, topic, publisher, subject, type, sequence, time_us, correlation_id,
       causation_id, traceparent, payload, personal, digest
FROM audit_event
WHERE position > :after
ORDER BY position
LIMIT :rows;

-- list_events_of_topic(topic text, after int, rows int) -> AuditRow[]
SELECT position, event_id, topic, publisher, subject, type, sequence, time_us, correlation_id,
       causation_id, traceparent, payload, personal, digest
FROM audit_event
WHERE topic = :topic AND position > :after
ORDER BY position
LIMIT :rows;

-- list_events_of_subject(subject text, topic text, after int, rows int) -> AuditRow[]
SELECT position, event_id, topic, publisher, subject, type, sequence, time_us, correlation_id,
       causation_id, traceparent, payload, personal, digest
FROM audit_event
WHERE subject = :subject AND (:topic = '' OR topic = :topic) AND position > :after
ORDER BY position
LIMIT :rows;
