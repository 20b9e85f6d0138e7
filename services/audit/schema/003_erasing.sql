-- Which erasing events the kept ones are still to be gone through for: whom it concerns, they say
-- themselves.
CREATE TABLE audit_erasing (
    position BIGINT PRIMARY KEY,
    noted_us BIGINT NOT NULL,
    done_to  BIGINT NOT NULL
);
INSERT INTO audit_erasing (position, noted_us, done_to)
SELECT DISTINCT upto, 0, 0 FROM audit_erasure;
DROP TABLE audit_erasure;
