//! What there is to know of a route of the API.

use fedecks_store::{BoxFuture, Role};
use http::Method;
use utoipa::openapi::{RefOr, Schema};
use warp::reply::Response;

use super::input::{Accepts, Parameter};
use super::request::Request;
use crate::http::problem::{Code, Problem};

/// Where the API is.
pub(super) const PREFIX: &str = "/api/v1";

/// Something that the API does.
pub(super) struct Route {
    pub(super) method: Method,
    /// Below [`PREFIX`], with names in braces.
    pub(super) path: &'static str,
    /// The role that it takes.
    pub(super) role: Option<Role>,
    /// Whether it takes a token that is not limited to some devices.
    pub(super) all_devices: bool,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) body: Option<Accepts>,
    pub(super) success: Success,
    /// What can go wrong beside what can go wrong everywhere.
    pub(super) problems: &'static [Code],
    pub(super) handler: fn(Request) -> BoxFuture<'static, Result<Response, Problem>>,
}

/// What a success looks like.
pub(super) struct Success {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Answers,
}

pub(super) enum Answers {
    Nothing,
    Json(fn() -> RefOr<Schema>),
    /// Any JSON.
    AnyJson,
    EventStream,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
