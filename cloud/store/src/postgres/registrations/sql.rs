//! The statements of registrations.

/// The row is locked, if there is one.
pub(super) const KNOWN: &str =
    "SELECT NOT forgotten AND (registered_at IS NOT NULL OR first_seen IS NOT NULL), blocked_at IS NOT NULL,
        generation, registered_by, registered_at, registered_from, nonce, came_by_token, returned_at,
        reregistration_until, certificate_key, certificate_refused
    FROM devices WHERE id = $1 FOR UPDATE";
pub(super) const REGISTER: &str =
    "INSERT INTO devices (id, registered_by, registered_at, registered_from, nonce, label, certificate_key,
        label_lower)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (id) DO UPDATE
    SET registered_by = excluded.registered_by, registered_at = excluded.registered_at,
        registered_from = excluded.registered_from, nonce = excluded.nonce, came_by_token = false,
        label = coalesce(devices.label, excluded.label),
        label_lower = coalesce(devices.label_lower, excluded.label_lower),
        reregistration_until = NULL, forgotten = false,
        certificate_refused = devices.certificate_refused AND excluded.certificate_key IS NULL,
        certificate_key = coalesce(excluded.certificate_key, devices.certificate_key)
    RETURNING generation";
pub(super) const RETURNED: &str =
    "UPDATE devices SET generation = greatest(generation + 1, $2), returned_at = $2 WHERE id = $1";
pub(super) const ALLOW: &str = "UPDATE devices SET reregistration_until = $2
    WHERE id = $1 AND NOT forgotten AND (registered_at IS NOT NULL OR first_seen IS NOT NULL)";
pub(super) const SET_KEY: &str =
    "UPDATE devices SET certificate_key = $2, certificate_refused = false
    WHERE id = $1 AND NOT forgotten";
pub(super) const APPROVAL: &str =
    "SELECT device, claim, since, asked_at, address, nonce, state FROM approvals WHERE device = $1
    FOR UPDATE";
pub(super) const APPROVALS: &str = "SELECT device, claim, since, asked_at, address FROM approvals
    WHERE device > $1 AND state = 0 ORDER BY device LIMIT $2";
pub(super) const SAVE_APPROVAL: &str =
    "INSERT INTO approvals (device, claim, nonce, state, since, asked_at, address)
    VALUES ($1, $2, $3, 0, $4, $4, $5)
    ON CONFLICT (device) DO UPDATE SET claim = excluded.claim, nonce = excluded.nonce, state = 0,
        since = excluded.since, asked_at = excluded.asked_at, address = excluded.address";
pub(super) const ASKED_AGAIN: &str =
    "UPDATE approvals SET asked_at = $2, address = $3 WHERE device = $1";
pub(super) const COUNT_APPROVALS: &str = "SELECT count(*) FROM approvals";
pub(super) const GIVE_UP_APPROVALS: &str = "DELETE FROM approvals WHERE device IN
    (SELECT device FROM approvals ORDER BY asked_at LIMIT $1 FOR UPDATE SKIP LOCKED)";
pub(super) const DECIDE: &str =
    "UPDATE approvals SET state = $2, asked_at = $3 WHERE device = $1 AND state = 0";
pub(super) const DELETE_APPROVAL: &str = "DELETE FROM approvals WHERE device = $1";
