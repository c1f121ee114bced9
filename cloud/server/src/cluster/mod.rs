//! How this server works together with others on the same database: which one does what one does for all, what they
//! tell each other, and how they are connected.

#[cfg(feature = "cluster")]
mod backplane;
#[cfg(not(feature = "cluster"))]
#[path = "no_backplane.rs"]
mod backplane;
mod isolation;
mod leadership;
mod peers;
mod rebalancing;
mod serving;
mod status;

pub(crate) use backplane::{Joined, check, join};
pub(crate) use isolation::run as react_to_isolation;
pub(crate) use leadership::Leadership;
pub(crate) use peers::{Peers, carry_bells};
pub(crate) use rebalancing::run as rebalance_when_asked;
pub(crate) use serving::{node_id, serving};
pub(crate) use status::{ClusterReadiness, ClusterStatus};
