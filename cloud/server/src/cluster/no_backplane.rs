//! In place of `backplane` in a program without the feature `cluster`, which serves without others.

use std::sync::Arc;

use fedecks_cloud::messaging::backplane::Backplane;

use crate::config::Cluster;
use crate::error::ServerError;

/// A connection that is never made.
pub(crate) enum Joined {}

impl Joined {
    pub(crate) fn backplane(&self) -> Arc<dyn Backplane> {
        match *self {}
    }

    pub(crate) fn is_connected(&self) -> bool {
        match *self {}
    }

    pub(crate) fn others(&self) -> usize {
        match *self {}
    }
}

pub(crate) async fn join(cluster: &Cluster) -> Result<Joined, ServerError> {
    Err(cluster.not_built().into())
}

pub(crate) async fn check(cluster: &Cluster) -> Result<(), ServerError> {
    join(cluster).await.map(drop)
}
