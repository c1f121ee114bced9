//! `/token`: what the caller's own API token allows. Tokens are managed on the command line only.

use fedecks_common::utc;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::response::json_response;

pub(super) const ROUTES: &[Route] = &[Route::new("getToken", Method::GET, "/token", handler!(get))
    .summary("Get what the presented token allows")
    .returns::<Token>("The token")];

/// An API token.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    name: String,
    /// The roles that it has: `read`, `send`, `admin`.
    roles: Vec<String>,
    /// The pattern of the devices that it is limited to, or null.
    #[schema(required)]
    devices: Option<String>,
    /// When it expires, or null.
    #[schema(required, format = DateTime)]
    expires: Option<String>,
}

async fn get(caller: Caller, _: Request) -> Result<Response, Problem> {
    let token = caller.token();
    Ok(json_response(&Token {
        name: token.name.clone(),
        roles: token.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        devices: token.devices.as_ref().map(ToString::to_string),
        expires: token.expires_at.map(utc),
    }))
}
