//! What was counted in each minute of the last day, by the API.

use warp::reply::Response;

use super::objects::History;
use super::request::Request;
use crate::http::problem::Problem;
use crate::http::response::json_response;
use fedecks_common::utc_millis;

/// What was counted in each minute.
pub(super) async fn get(request: Request) -> Result<Response, Problem> {
    let (began, minutes) = request.state.history.minutes();
    Ok(json_response(&History {
        began: utc_millis(began).to_string(),
        connected: minutes.iter().map(|minute| minute.connected).collect(),
        connects: minutes.iter().map(|minute| minute.connects).collect(),
        disconnects: minutes.iter().map(|minute| minute.disconnects).collect(),
        refusals: minutes.iter().map(|minute| minute.refusals).collect(),
        messages: minutes.iter().map(|minute| minute.messages).collect(),
    }))
}
