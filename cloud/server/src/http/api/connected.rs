//! Helpers of the endpoints that ask the hub who is connected.

use std::sync::Arc;
use std::time::SystemTime;

use fedecks_cloud::DeviceId;
use fedecks_cloud::messaging::Presence;

use crate::http::problem::{Code, Problem};
use crate::state::AppState;

/// The devices that are connected and wanted, ordered by id.
pub(super) async fn present(
    state: &AppState,
    wanted: impl Fn(&DeviceId) -> bool,
) -> Result<Vec<Arc<Presence>>, Problem> {
    let mut present = state.hub.list().await?;
    present.retain(|presence| wanted(&presence.device));
    present.sort_unstable_by(|one, other| one.device.cmp(&other.device));
    Ok(present)
}

pub(super) async fn connected_since(
    state: &AppState,
    device: &DeviceId,
) -> Result<Option<SystemTime>, Problem> {
    let presence = state.hub.find(device).await?;
    Ok(presence.map(|presence| presence.connection.connected_at()))
}

pub(super) fn not_connected() -> Problem {
    Problem::new(Code::DeviceNotConnected, "expected a device that is connected")
}
