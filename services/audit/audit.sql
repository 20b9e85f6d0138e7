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

-- list_personal(after int, upto int, until_us int, rows int) -> AuditRow[]
SELECT position, event_id, topic, publisher, subject, type, sequence, time_us, correlation_id,
       causation_id, traceparent, payload, personal, digest
FROM audit_event
WHERE position > :after AND position <= :upto AND time_us <= :until_us AND LENGTH(personal) > 0
  AND NOT EXISTS (SELECT 1 FROM audit_erasing WHERE audit_erasing.position = audit_event.position)
ORDER BY position
LIMIT :rows;

-- find_event(position int) -> AuditRow
SELECT position, event_id, topic, publisher, subject, type, sequence, time_us, correlation_id,
       causation_id, traceparent, payload, personal, digest
FROM audit_event
WHERE position = :position;

-- set_personal(position int, personal blob)
UPDATE audit_event
SET personal = :personal
WHERE position = :position;

-- insert_erasing(position int, noted_us int)
INSERT INTO audit_erasing (position, noted_us, done_to)
VALUES (:position, :noted_us, 0)
ON CONFLICT DO NOTHING;

-- find_erasing(noted_by_us int) -> Erasing
SELECT position, noted_us, done_to
FROM audit_erasing
WHERE noted_us <= :noted_by_us
ORDER BY position
LIMIT 1;

-- move_erasing(position int, done_to int)
UPDATE audit_erasing
SET done_to = :done_to
WHERE position = :position;

-- end_erasing(position int)
DELETE FROM audit_erasing
WHERE position = :position;
