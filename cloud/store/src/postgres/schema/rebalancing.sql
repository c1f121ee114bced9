-- How often an operator has asked the server to close the sessions that it has more than its share. A server of the
-- version before does not look.
ALTER TABLE nodes ADD COLUMN rebalances bigint NOT NULL DEFAULT 0;
