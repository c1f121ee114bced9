//! What the API takes and gives, as JSON. Times are those of UTC, as RFC 3339 writes them.

use fedecks_store::{Account, AuditRecord, DeviceRecord};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use fedecks_common::utc;
use fedecks_common::utc_millis;

/// The schema of a type of this file.
pub(super) fn schema<T: PartialSchema>() -> RefOr<Schema> {
    T::schema()
}

/// A device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Device {
    pub(super) id: String,
    /// What people call it.
    #[schema(required)]
    pub(super) label: Option<String>,
    pub(super) connected: bool,
    /// Since when it is connected.
    #[schema(required)]
    pub(super) connected_since: Option<String>,
    /// When it was seen first; null if never, or if that was within the last second.
    #[schema(required)]
    pub(super) first_seen: Option<String>,
    /// When a connection of it began or ended last.
    #[schema(required)]
    pub(super) last_seen: Option<String>,
    pub(super) blocked: bool,
    /// Since when it is blocked.
    #[schema(required)]
    pub(super) blocked_since: Option<String>,
}

/// Some of the devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DevicePage {
    pub(super) devices: Vec<Device>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    pub(super) next: Option<String>,
}

/// What is to change of a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceChange {
    /// 1 to 128 characters on one line without a space at either end; null for none.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, min_length = 1, max_length = 128)]
    pub(super) label: Option<String>,
}

/// Whether a device is connected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Presence {
    pub(super) id: String,
    pub(super) connected: bool,
    /// Since when.
    #[schema(required)]
    pub(super) since: Option<String>,
    /// By which connection, as the log names it.
    #[schema(required)]
    pub(super) connection: Option<String>,
}

/// Some of the devices that are connected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresencePage {
    /// How many of the devices that the token may see are connected.
    #[schema(minimum = 0)]
    pub(super) connected: usize,
    pub(super) devices: Vec<Presence>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    pub(super) next: Option<String>,
}

/// What was counted, minute by minute, of the last day at most. The last minute goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct History {
    /// When the first minute began.
    pub(super) began: String,
    /// How many devices were connected at the end of each minute.
    #[schema(inline)]
    pub(super) connected: Vec<usize>,
    /// Sessions of devices that began.
    pub(super) connects: Vec<u64>,
    /// Sessions of devices that ended.
    pub(super) disconnects: Vec<u64>,
    /// Connections that were refused.
    pub(super) refusals: Vec<u64>,
    /// Messages that devices sent.
    pub(super) messages: Vec<u64>,
}

/// All accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accounts {
    #[schema(inline)]
    pub(super) accounts: Vec<AccountInfo>,
}

/// An account that devices log in with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountInfo {
    pub(super) name: String,
    pub(super) created: String,
}

/// An account to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    /// 8 to 1,024 characters.
    #[schema(min_length = 8, max_length = 1024)]
    pub(super) password: String,
}

/// Some of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    #[schema(inline)]
    pub(super) entries: Vec<AuditEntry>,
    /// The cursor of the next, older page; null if this is the last one.
    #[schema(required)]
    pub(super) next: Option<String>,
}

/// Something that somebody did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditEntry {
    pub(super) time: String,
    /// `cli`, `server`, or `token:` and the name of an API token.
    pub(super) by: String,
    /// Such as `device-blocked`.
    pub(super) action: String,
    /// To which device, if to one.
    #[schema(required)]
    pub(super) device: Option<String>,
    #[schema(required)]
    pub(super) detail: Option<String>,
}

/// An API token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Token {
    pub(super) name: String,
    /// What it allows: `read`, `send`, `admin`.
    pub(super) roles: Vec<String>,
    /// The pattern of the devices that it is limited to, if it is.
    #[schema(required)]
    pub(super) devices: Option<String>,
    /// When it ends, if it does.
    #[schema(required)]
    pub(super) expires: Option<String>,
}

impl Device {
    /// What the store knows of a device, and since when it is connected.
    pub(super) fn of(record: DeviceRecord, connected: Option<std::time::SystemTime>) -> Self {
        Self {
            id: record.id.to_string(),
            label: record.label,
            connected: connected.is_some(),
            connected_since: connected.map(|at| utc_millis(at).to_string()),
            first_seen: record.first_seen.map(utc),
            last_seen: record.last_seen.map(utc),
            blocked: record.blocked_at.is_some(),
            blocked_since: record.blocked_at.map(utc),
        }
    }
}

impl From<Account> for AccountInfo {
    fn from(account: Account) -> Self {
        Self { name: account.name, created: utc(account.created_at) }
    }
}

impl From<AuditRecord> for AuditEntry {
    fn from(record: AuditRecord) -> Self {
        Self {
            time: utc(record.at),
            by: record.by,
            action: record.action.as_str().to_owned(),
            device: record.device.map(|device| device.to_string()),
            detail: record.detail,
        }
    }
}
