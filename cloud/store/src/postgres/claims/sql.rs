//! The statements of claims.

pub(super) const ADD: &str = "INSERT INTO claims
        (id, hash, devices, uses, returns, expires_at, label, approval, note, created_at, created_by, ends_at)
    SELECT id, hash, devices, uses, returns, expires_at, label, approval, note, $10, $11, expires_at
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
            $8::boolean[], $9::text[])
        WITH ORDINALITY AS new (id, hash, devices, uses, returns, expires_at, label, approval, note, place)
    ORDER BY place";
pub(super) const COUNT: &str = "SELECT count(*) FROM claims";
/// Those that are taken.
pub(super) const TAKEN: &str = "SELECT id, hash FROM claims WHERE id = ANY ($1) UNION SELECT id, hash FROM claims WHERE hash = ANY ($2)";
/// What `record` reads.
pub(super) const COLUMNS: &str =
    "number, id, devices, uses, used, returns, returned, expires_at, revoked_at, label, approval, note,
    created_at, created_by";
pub(super) const NUMBER: &str = "SELECT number FROM claims WHERE id = $1";
pub(super) const REVOKE: &str = "UPDATE claims SET revoked_at = $2, ends_at = least(ends_at, $2)
    WHERE id = $1 AND revoked_at IS NULL";
/// `$4` is null unless it is used up by this.
pub(super) const COUNT_USE: &str = "UPDATE claims SET used = used + $2, returned = returned + $3,
        ends_at = least(ends_at, $4)
    WHERE id = $1";
pub(super) const ADD_USE: &str =
    "INSERT INTO claim_uses (claim, device, at, address, returned) VALUES ($1, $2, $3, $4, $5)
    RETURNING number";
pub(super) const TRIM_USES: &str = "DELETE FROM claim_uses WHERE number <= $1";
pub(super) const USES: &str = "SELECT device, number, at, address, returned FROM claim_uses
    WHERE claim = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
pub(super) const OLD: &str = "SELECT id FROM claims WHERE ends_at < $1 ORDER BY ends_at LIMIT $2
    FOR UPDATE SKIP LOCKED";
pub(super) const DELETE_USES: &str = "DELETE FROM claim_uses WHERE number IN
    (SELECT number FROM claim_uses WHERE claim = $1 ORDER BY number LIMIT $2)";
pub(super) const DELETE: &str = "DELETE FROM claims WHERE id = $1";
pub(super) const DELETE_APPROVALS: &str = "DELETE FROM approvals WHERE device IN
    (SELECT device FROM approvals WHERE asked_at < $1 ORDER BY asked_at LIMIT $2
    FOR UPDATE SKIP LOCKED)";
