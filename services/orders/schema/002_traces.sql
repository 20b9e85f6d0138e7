-- The trace of the request that opened it, for whoever takes it further; NULL where nothing is traced.
ALTER TABLE orders_checkout ADD COLUMN traceparent TEXT;
