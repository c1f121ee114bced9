use warp::reply::Response;

use super::devices::json_response;
use super::objects::History;
use super::request::Request;
use crate::server::events::rfc3339;
use crate::server::problem::Problem;

/// What was counted in each minute.
pub(super) async fn get(request: Request) -> Result<Response, Problem> {
    let (began, minutes) = request.site.history.minutes();
    Ok(json_response(&History {
        began: rfc3339(began),
        connected: minutes.iter().map(|minute| minute.connected).collect(),
        connects: minutes.iter().map(|minute| minute.connects).collect(),
        disconnects: minutes.iter().map(|minute| minute.disconnects).collect(),
        refusals: minutes.iter().map(|minute| minute.refusals).collect(),
        messages: minutes.iter().map(|minute| minute.messages).collect(),
    }))
}
