//! The SQL of nodes and their leases.

use std::time::Duration;

use tokio_postgres::Row;

use crate::nodes::{DEAD_AFTER, LONGEST_PAUSE, NodeRecord, NodeState, Renewal, WATCH_TIME};
use crate::postgres::columns::{from_column, get, unsigned};
use crate::postgres::failure::{Failure, Result};

pub(super) const WAITS: i16 = 0;
pub(super) const SERVES: i16 = 1;
pub(super) const ENDED: i16 = 2;
pub(super) const DEAD: i16 = 3;

/// The columns of a node `it` for [`node`].
fn columns() -> String {
    format!(
        "it.id, it.name, it.epoch, it.state, extract(epoch FROM it.since)::bigint,
        greatest(extract(epoch FROM clock_timestamp() - it.renewed_at) * 1000, 0)::bigint,
        it.state = {SERVES} AND {LEADS}, it.state = {SERVES} AND it.drains,
        it.state = {SERVES} AND it.alone"
    )
}

/// Whether the node `it`, which has a lease, leads.
const LEADS: &str =
    "NOT EXISTS (SELECT FROM nodes AS other WHERE other.state = 1 AND other.epoch < it.epoch)";

/// Renews the node `it`, with the present as `clock.now`.
fn renewal() -> String {
    format!(
        "steady_since = CASE WHEN it.server_start = pg_postmaster_start_time()
                AND clock.now BETWEEN it.renewed_at AND it.renewed_at + {}
            THEN it.steady_since ELSE clock.now END,
        server_start = pg_postmaster_start_time(), renewed_at = clock.now",
        interval(LONGEST_PAUSE)
    )
}

fn interval(time: Duration) -> String {
    format!("interval '{} s'", time.as_secs())
}

/// Whether a node may declare others dead that has just renewed.
fn may_declare(node: &str) -> String {
    format!(
        "({node}.server_start = pg_postmaster_start_time()
            AND {node}.renewed_at >= {node}.steady_since + {})",
        interval(WATCH_TIME)
    )
}

/// Whether the node `$1`, `own`, may declare `it` dead: by the time of its last renewal, so that a pause of the
/// database after that does not count.
fn is_expired() -> String {
    format!(
        "it.state = {SERVES} AND it.id <> $1 AND own.id = $1 AND {}
            AND it.renewed_at < own.renewed_at - {}",
        may_declare("own"),
        interval(DEAD_AFTER)
    )
}

/// Notes the node `$1` with the name `$2`, for the first time.
pub(super) const ADD: &str = "INSERT INTO nodes
        (id, name, since, renewed_at, steady_since, server_start)
    SELECT $1::bigint, $2::text, now, now, now, pg_postmaster_start_time()
    FROM (SELECT clock_timestamp() AS now) AS clock
    ON CONFLICT (id) DO NOTHING";

/// The node `$1` wants a lease.
pub(super) fn wait() -> String {
    format!(
        "UPDATE nodes AS it SET {}, name = $2,
            since = CASE WHEN it.state IN ({WAITS}, {SERVES}) THEN it.since ELSE clock.now END,
            state = CASE WHEN it.state = {SERVES} THEN {SERVES} ELSE {WAITS} END
        FROM (SELECT clock_timestamp() AS now) AS clock WHERE it.id = $1",
        renewal()
    )
}

/// Renews the lease of the node `$1` with the epoch `$2`.
pub(super) fn renew() -> String {
    format!(
        "UPDATE nodes AS it SET {}
        FROM (SELECT clock_timestamp() AS now) AS clock
        WHERE it.id = $1 AND it.epoch = $2 AND it.state = {SERVES}
        RETURNING {}, {LEADS}, it.drains, it.rebalances",
        renewal(),
        may_declare("it")
    )
}

/// The row of [`renew`].
pub(super) fn renewal_of(row: &Row) -> Result<Renewal> {
    let (may_declare, leads, drains) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
    Ok(Renewal::Renewed { may_declare, leads, drains, rebalances: unsigned(row, 3)? })
}

/// The lease of the node `$1` with the epoch `$2`, if it has not ended.
pub(super) fn serves() -> String {
    format!("SELECT FROM nodes WHERE id = $1 AND epoch = $2 AND state = {SERVES}")
}

/// Asks the node `$1` to end.
pub(super) fn drain() -> String {
    format!("UPDATE nodes SET drains = true WHERE id = $1 AND state = {SERVES}")
}

/// Asks the nodes that serve together and stay to spread their sessions, if there are several.
pub(super) fn rebalance() -> String {
    let stays = format!("state = {SERVES} AND NOT alone AND NOT drains");
    format!(
        "UPDATE nodes SET rebalances = rebalances + 1
        FROM (SELECT count(*) AS nodes FROM nodes WHERE {stays}) AS stay
        WHERE stay.nodes > 1 AND {stays}"
    )
}

/// After the clock of the database went back, a lease counts as renewed now, and not in the future.
pub(super) const NOT_IN_FUTURE: &str =
    "UPDATE nodes SET renewed_at = clock_timestamp() WHERE renewed_at > clock_timestamp()";

/// The epochs that `$1` may end.
pub(super) fn expired() -> String {
    format!("SELECT it.epoch FROM nodes AS it, nodes AS own WHERE {} ORDER BY 1", is_expired())
}

/// Has `$1` declare the node with the epoch `$2` dead.
pub(super) fn declare() -> String {
    format!(
        "UPDATE nodes AS it SET state = {DEAD}, since = clock_timestamp() FROM nodes AS own
        WHERE it.epoch = $2 AND {} RETURNING {}",
        is_expired(),
        columns()
    )
}

/// A node with which `$1` cannot serve; `$2` is whether it would serve alone.
pub(super) fn holder() -> String {
    format!(
        "SELECT {} FROM nodes AS it WHERE it.state = {SERVES} AND it.id <> $1
            AND ($2 OR it.alone) ORDER BY it.renewed_at DESC LIMIT 1",
        columns()
    )
}

/// The node `$1` serves, `$2` alone.
pub(super) fn begin() -> String {
    format!(
        "UPDATE nodes AS it SET state = {SERVES}, alone = $2, epoch = nextval('node_epochs'),
            drains = false, rebalances = 0, since = clock_timestamp() WHERE it.id = $1
        RETURNING it.epoch, NOT EXISTS (SELECT FROM nodes AS other
            WHERE other.state = {SERVES} AND other.id <> $1)"
    )
}

/// Deletes those that waited and have gone, and those that ended long ago.
pub(super) fn trim() -> String {
    format!(
        "DELETE FROM nodes WHERE
            (state = {WAITS} AND renewed_at < clock_timestamp() - interval '1 min')
            OR (state IN ({ENDED}, {DEAD}) AND (since < clock_timestamp() - interval '1 day'
                OR id IN (SELECT id FROM nodes WHERE state IN ({ENDED}, {DEAD})
                    ORDER BY since DESC OFFSET {})))",
        NodeRecord::MAX_ENDED
    )
}

/// All nodes.
pub(super) fn all() -> String {
    format!("SELECT {} FROM nodes AS it ORDER BY it.since, it.id", columns())
}

/// A node of [`COLUMNS`].
pub(super) fn node(row: &Row) -> Result<NodeRecord> {
    let state = match get::<i16>(row, 3)? {
        WAITS => NodeState::Waits,
        SERVES => NodeState::Serves,
        ENDED => NodeState::Ended,
        DEAD => NodeState::Dead,
        other => return Err(Failure::damaged(format!("{other} is not a state of a node"))),
    };
    Ok(NodeRecord {
        id: u64::from_ne_bytes(get::<i64>(row, 0)?.to_ne_bytes()),
        name: get(row, 1)?,
        epoch: unsigned(row, 2)?,
        state,
        since: unsigned(row, 4)?,
        renewed_ago: Duration::from_millis(from_column(get(row, 5)?)),
        leads: get(row, 6)?,
        drains: get(row, 7)?,
        alone: get(row, 8)?,
    })
}
