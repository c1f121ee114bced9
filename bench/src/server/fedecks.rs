use std::net::SocketAddr;

use super::ServeOptions;
use crate::Result;

pub(super) async fn start(_options: &ServeOptions) -> Result<SocketAddr> {
    Err("not yet".into())
}
