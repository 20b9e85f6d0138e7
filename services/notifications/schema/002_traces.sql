-- The trace of what it tells of; NULL where nothing is traced.
ALTER TABLE notifications_mail ADD COLUMN traceparent TEXT;
