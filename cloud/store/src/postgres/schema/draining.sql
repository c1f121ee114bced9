-- Whether an operator has asked the server to end in order. A server of the version before does not look.
ALTER TABLE nodes ADD COLUMN drains boolean NOT NULL DEFAULT false;
