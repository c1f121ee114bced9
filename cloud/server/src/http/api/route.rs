//! The description of one route of the API: requests are answered by it, and the OpenAPI document is
//! generated from it. Each resource's file has its own routes; `table.rs` has all.

use fedecks_store::{BoxFuture, Role};
use http::Method;
use utoipa::PartialSchema;
use utoipa::openapi::{RefOr, Schema};
use warp::reply::Response;

use super::input::{Accepts, Parameter};
use super::request::Request;
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};

/// The path of the API.
pub(super) const PREFIX: &str = "/api/v1";

pub(super) type Handler = fn(Caller, Request) -> BoxFuture<'static, Result<Response, Problem>>;

/// A method at a path.
pub(super) struct Route {
    pub(super) method: Method,
    /// Below [`PREFIX`], with parameters in braces.
    pub(super) path: &'static str,
    /// The role that the caller needs.
    pub(super) role: Option<Role>,
    /// Whether the caller needs a token that is not limited to some devices.
    pub(super) all_devices: bool,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) body: Option<Accepts>,
    pub(super) success: Success,
    /// Errors in addition to the ones that every route has.
    pub(super) problems: &'static [Code],
    pub(super) handler: Handler,
}

/// The response of a success.
pub(super) struct Success {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Content,
}

pub(super) enum Content {
    Nothing,
    Json(fn() -> RefOr<Schema>),
    AnyJson,
    EventStream,
}

/// An async function as a [`Handler`].
macro_rules! handler {
    ($function:path) => {
        |caller, request| Box::pin($function(caller, request))
    };
}
pub(super) use handler;

impl Route {
    pub(super) const fn new(method: Method, path: &'static str, handler: Handler) -> Self {
        let success = Success { status: 204, about: "Done", content: Content::Nothing };
        Self {
            method,
            path,
            role: None,
            all_devices: false,
            summary: "",
            query: &[],
            body: None,
            success,
            problems: &[],
            handler,
        }
    }

    pub(super) const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub(super) const fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    pub(super) const fn all_devices(mut self) -> Self {
        self.all_devices = true;
        self
    }

    pub(super) const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    pub(super) const fn body(mut self, body: Accepts) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) const fn takes<T: PartialSchema>(self) -> Self {
        self.body(Accepts::Json(T::schema))
    }

    pub(super) const fn success(
        mut self,
        status: u16,
        about: &'static str,
        content: Content,
    ) -> Self {
        self.success = Success { status, about, content };
        self
    }

    pub(super) const fn returns<T: PartialSchema>(self, about: &'static str) -> Self {
        self.success(200, about, Content::Json(T::schema))
    }

    pub(super) const fn returns_nothing(self, about: &'static str) -> Self {
        self.success(204, about, Content::Nothing)
    }

    pub(super) const fn problems(mut self, problems: &'static [Code]) -> Self {
        self.problems = problems;
        self
    }
}
