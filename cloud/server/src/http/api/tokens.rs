//! What the caller's token allows.

use warp::reply::Response;

use super::objects::Token;
use super::request::Request;
use crate::http::problem::Problem;
use crate::http::response::json_response;
use fedecks_common::utc;

/// What the caller's token allows.
pub(super) async fn mine(request: Request) -> Result<Response, Problem> {
    let token = request.caller.token();
    Ok(json_response(&Token {
        name: token.name.clone(),
        roles: token.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        devices: token.devices.as_ref().map(ToString::to_string),
        expires: token.expires_at.map(utc),
    }))
}
