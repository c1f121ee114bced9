-- Servers that share the database. `state`: 0 waits for a lease, 1 serves, 2 ended its lease, 3 was declared dead; one
-- that serves `alone` admits no other.
-- `steady_since` is when the renewals began that had no long pause between them, on this start of the database server.
CREATE SEQUENCE node_epochs AS bigint;
CREATE TABLE nodes (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    state smallint NOT NULL DEFAULT 0,
    alone boolean NOT NULL DEFAULT false,
    since timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL,
    steady_since timestamptz NOT NULL,
    server_start timestamptz NOT NULL
);

-- Called first in each transaction of a server that has a lease: fails if the lease has ended, and otherwise keeps
-- others from ending it until the transaction has ended. Names the node too, as after the promotion of an asynchronous
-- standby an epoch may come again.
CREATE FUNCTION hold_lease(of_node bigint, of_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(6, hashint8(of_epoch));
    IF NOT EXISTS (SELECT FROM nodes WHERE id = of_node AND epoch = of_epoch AND state = 1) THEN
        RAISE EXCEPTION 'the lease of this server has ended' USING ERRCODE = 'FDL01';
    END IF;
END $$;
