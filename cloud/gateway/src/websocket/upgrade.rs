//! Takes the connection over from the HTTP server once the answer is sent.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::socket::Socket;
use crate::auth::device::AuthenticatedDevice;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::session::run;

/// Begins the device's session once the answer is sent.
pub(super) async fn begin<H: Handler>(
    context: Arc<GatewayContext<H>>,
    device: AuthenticatedDevice,
    on_upgrade: OnUpgrade,
) {
    let upgraded = match on_upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the connection was gone before the upgrade");
            return;
        }
    };
    let max_frame = context.options.max_frame as usize;
    // Behind our own accept loop the session takes the socket itself, without hyper's box around it.
    #[cfg(feature = "serve")]
    let upgraded = match upgraded.downcast::<TokioIo<fedecks_edge::Socket>>() {
        Ok(parts) => {
            let socket = Socket::new(parts.io.into_inner(), &parts.read_buf, max_frame);
            return run::begin(context, device, socket).await;
        }
        Err(upgraded) => upgraded,
    };
    let socket = Socket::new(TokioIo::new(upgraded), &[], max_frame);
    run::begin(context, device, socket).await;
}
