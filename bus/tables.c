/* The bus's tables, alike in every store; the core store's bus_event is the journal. */
#include "bus/bus_private.h"

/*
 * The key of bus_event holds each subject's history together; it is also what makes a repeated
 * relay of one event harmless, and where publishing finds the next sequence.  data stands last, so
 * that a scan by topic does not read it.
 */
static const char bus_tables_sql[] =
    "CREATE TABLE bus_event (\n"
    "  position INTEGER PRIMARY KEY,\n"
    "  id TEXT NOT NULL,\n"
    "  topic TEXT NOT NULL,\n"
    "  publisher TEXT NOT NULL,\n"
    "  subject TEXT NOT NULL,\n"
    "  type TEXT NOT NULL,\n"
    "  sequence BIGINT NOT NULL CHECK (sequence > 0),\n"
    "  time_us BIGINT NOT NULL,\n"
    "  correlation_id TEXT,\n"
    "  causation_id TEXT,\n"
    "  traceparent TEXT,\n"
    "  data BLOB NOT NULL,\n"
    "  UNIQUE (subject, publisher, sequence)\n"
    ");\n"
    "CREATE TABLE bus_cursor (\n"
    "  subscriber TEXT PRIMARY KEY,\n"
    "  position BIGINT NOT NULL CHECK (position >= 0)\n"
    ");\n"
    "CREATE TABLE bus_parked (\n"
    "  subscriber TEXT NOT NULL,\n"
    "  event_id TEXT NOT NULL,\n"
    "  position BIGINT NOT NULL,\n"
    "  publisher TEXT NOT NULL,\n"
    "  subject TEXT NOT NULL,\n"
    "  state TEXT NOT NULL CHECK (state IN ('waiting', 'retrying', 'dead')),\n"
    "  attempts BIGINT NOT NULL CHECK (attempts >= 0),\n"
    "  next_try_us BIGINT NOT NULL,\n"
    "  error TEXT,\n"
    "  parked_at_us BIGINT NOT NULL,\n"
    "  PRIMARY KEY (subscriber, event_id)\n"
    ");\n"
    "CREATE UNIQUE INDEX bus_parked_by_subject\n"
    "  ON bus_parked (subscriber, publisher, subject, position);\n"
    "CREATE INDEX bus_parked_due ON bus_parked (subscriber, state, next_try_us);\n"
    "CREATE TABLE bus_outbox (\n"
    "  position INTEGER PRIMARY KEY,\n"
    "  id TEXT NOT NULL,\n"
    "  topic TEXT NOT NULL,\n"
    "  publisher TEXT NOT NULL,\n"
    "  subject TEXT NOT NULL,\n"
    "  type TEXT NOT NULL,\n"
    "  sequence BIGINT NOT NULL CHECK (sequence > 0),\n"
    "  time_us BIGINT NOT NULL,\n"
    "  correlation_id TEXT,\n"
    "  causation_id TEXT,\n"
    "  traceparent TEXT,\n"
    "  data BLOB NOT NULL\n"
    ");\n"
    "CREATE TABLE bus_sequence (\n"
    "  publisher TEXT NOT NULL,\n"
    "  subject TEXT NOT NULL,\n"
    "  sequence BIGINT NOT NULL CHECK (sequence > 0),\n"
    "  PRIMARY KEY (publisher, subject)\n"
    ");\n";

/* What is kept between processes: the inbox, and a parked event itself, whose row may be elsewhere.
 */
static const char bus_spread_sql[] =
    "CREATE TABLE bus_inbox (\n"
    "  subscriber TEXT NOT NULL,\n"
    "  publisher TEXT NOT NULL,\n"
    "  position BIGINT NOT NULL,\n"
    "  event_id TEXT NOT NULL,\n"
    "  PRIMARY KEY (subscriber, publisher, position)\n"
    ");\n"
    "CREATE UNIQUE INDEX bus_inbox_by_event ON bus_inbox (subscriber, event_id);\n"
    "ALTER TABLE bus_parked ADD COLUMN topic TEXT;\n"
    "ALTER TABLE bus_parked ADD COLUMN type TEXT;\n"
    "ALTER TABLE bus_parked ADD COLUMN sequence BIGINT;\n"
    "ALTER TABLE bus_parked ADD COLUMN time_us BIGINT;\n"
    "ALTER TABLE bus_parked ADD COLUMN correlation_id TEXT;\n"
    "ALTER TABLE bus_parked ADD COLUMN causation_id TEXT;\n"
    "ALTER TABLE bus_parked ADD COLUMN traceparent TEXT;\n"
    "ALTER TABLE bus_parked ADD COLUMN data BLOB;\n";

/*
 * Erasing events that the bus_event here is still to be gone through for, up to where it was when
 * they were heard.  They need not stand in it: their publisher may run elsewhere.
 */
static const char erasure_sql[] = "CREATE TABLE bus_erasure (\n"
                                  "  event_id TEXT PRIMARY KEY,\n"
                                  "  topic TEXT NOT NULL,\n"
                                  "  subject TEXT NOT NULL,\n"
                                  "  data BLOB NOT NULL,\n"
                                  "  noted_us BIGINT NOT NULL,\n"
                                  "  upto BIGINT NOT NULL,\n"
                                  "  done_to BIGINT NOT NULL,\n"
                                  "  due_us BIGINT NOT NULL,\n"
                                  "  left_out BIGINT NOT NULL CHECK (left_out IN (0, 1))\n"
                                  ");\n";

const struct migration *
bus_migrations(size_t *n)
{
    static const struct migration migrations[] = {
        {"bus", 1, "001_init", bus_tables_sql},
        {"bus", 2, "002_spread", bus_spread_sql},
        {"bus", 3, "003_erasure", erasure_sql},
    };
    *n = sizeof migrations / sizeof migrations[0];
    return migrations;
}
