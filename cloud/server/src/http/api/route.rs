//! The description of one route of the API: requests are answered by it, and the OpenAPI document is
//! generated from it. Each resource's file has its own routes; `table.rs` has all.

use fedecks_store::{BoxFuture, Role};
use http::Method;
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::{Accepts, Parameter};
use super::request::Request;
use super::schemas::{Named, Schemas};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};

/// The path of the API.
pub(super) const PREFIX: &str = "/api/v1";

/// What answers a request.
pub(super) enum Handler {
    /// For callers with an API token or a session.
    Authenticated(fn(Caller, Request) -> BoxFuture<'static, Result<Response, Problem>>),
    /// For everyone, the same to all.
    Public(fn() -> Response),
}

/// The routes of one kind of thing.
pub(super) struct Resource {
    /// The tag of its operations.
    pub(super) tag: &'static str,
    pub(super) about: &'static str,
    pub(super) routes: &'static [&'static [Route]],
}

/// A method at a path.
pub(super) struct Route {
    /// The name of the operation in generated clients. Never changes.
    pub(super) id: &'static str,
    pub(super) method: Method,
    /// Below [`PREFIX`], with parameters in braces.
    pub(super) path: &'static str,
    /// The role that the caller needs.
    pub(super) role: Option<Role>,
    /// Whether the caller needs a token that is not limited to some devices.
    pub(super) all_devices: bool,
    /// The first sentence is its title.
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    /// Optional headers of requests.
    pub(super) headers: &'static [Parameter],
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
    Json(Named),
    /// JSON, or the same as CSV if the client prefers that.
    JsonOrCsv(Named),
    EventStream,
}

/// An async function as [`Handler::Authenticated`].
macro_rules! handler {
    ($function:path) => {
        Handler::Authenticated(|caller, request| Box::pin($function(caller, request)))
    };
}
pub(super) use handler;

impl Resource {
    pub(super) fn routes(&self) -> impl Iterator<Item = &'static Route> + use<> {
        self.routes.iter().copied().flatten()
    }
}

impl Route {
    pub(super) const fn new(
        id: &'static str,
        method: Method,
        path: &'static str,
        handler: Handler,
    ) -> Self {
        let success = Success { status: 204, about: "Done", content: Content::Nothing };
        Self {
            id,
            method,
            path,
            role: None,
            all_devices: false,
            summary: "",
            query: &[],
            headers: &[],
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

    pub(super) const fn headers(mut self, headers: &'static [Parameter]) -> Self {
        self.headers = headers;
        self
    }

    pub(super) const fn body(mut self, body: Accepts) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) const fn takes<T: ToSchema>(self) -> Self {
        self.body(Accepts::Json(Schemas::of::<T>))
    }

    pub(super) const fn takes_large<T: ToSchema>(self, most: usize) -> Self {
        self.body(Accepts::LargeJson(Schemas::of::<T>, most))
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

    pub(super) const fn returns<T: ToSchema>(self, about: &'static str) -> Self {
        self.success(200, about, Content::Json(Schemas::of::<T>))
    }

    pub(super) const fn returns_nothing(self, about: &'static str) -> Self {
        self.success(204, about, Content::Nothing)
    }

    /// What answers, if that is the same to all.
    pub(super) fn public(&self) -> Option<fn() -> Response> {
        match self.handler {
            Handler::Authenticated(_) => None,
            Handler::Public(respond) => Some(respond),
        }
    }

    pub(super) const fn problems(mut self, problems: &'static [Code]) -> Self {
        self.problems = problems;
        self
    }
}
