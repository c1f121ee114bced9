//! The table of all routes of the API, and the lookup of a request's route.

use http::Method;
use percent_encoding::percent_decode_str;
use warp::reply::Response;

use super::request::Request;
use super::route::{Content, PREFIX, Route, handler};
use super::{
    accounts, audit, device_list, devices, events, history, messages, openapi, presence, tokens,
};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;

static TABLE: &[&[Route]] = &[
    DOCUMENT,
    tokens::ROUTES,
    device_list::ROUTES,
    devices::ROUTES,
    messages::ROUTES,
    presence::ROUTES,
    history::ROUTES,
    events::ROUTES,
    accounts::ROUTES,
    audit::ROUTES,
];

/// It describes the table, so it cannot be in a file that the table imports.
const DOCUMENT: &[Route] = &[Route::new(Method::GET, "/openapi.json", handler!(document))
    .summary("Get this description")
    .success(200, "An OpenAPI 3.1 document", Content::AnyJson)];

/// The route of a request, with the values of the parameters in its path.
pub(super) struct Matched {
    pub(super) route: &'static Route,
    pub(super) values: Vec<String>,
}

pub(super) fn routes() -> impl Iterator<Item = &'static Route> {
    TABLE.iter().copied().flatten()
}

/// Finds the route of a request. HEAD has the routes of GET, and gets no body from the HTTP library.
pub(super) fn find(method: &Method, path: &str) -> Result<Matched, Problem> {
    let not_found = || Problem::new(Code::NotFound, "see /api/v1/openapi.json for the paths");
    let path = path.strip_prefix(PREFIX).ok_or_else(not_found)?;
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = Vec::new();
    for route in routes() {
        let Some(values) = match_path(route.path, path)? else { continue };
        if route.method == *method {
            return Ok(Matched { route, values });
        }
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push(Method::HEAD.as_str());
        }
    }
    if allowed.is_empty() {
        Err(not_found())
    } else {
        Err(Problem::method_not_allowed(&allowed.join(", ")))
    }
}

/// The percent-decoded values of the parameters in `pattern`, if the path matches it.
fn match_path(pattern: &str, path: &str) -> Result<Option<Vec<String>>, Problem> {
    let (mut expected, mut parts) = (pattern.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (expected.next(), parts.next()) {
            (None, None) => break,
            (Some(name), Some(part)) if name.starts_with('{') => values.push(part),
            (Some(name), Some(part)) if name == part => {}
            _ => return Ok(None),
        }
    }
    let decode = |part: &str| {
        let invalid = |_| {
            let detail = format!("{part:?} is not valid UTF-8 after percent-decoding");
            Problem::new(Code::InvalidPath, detail)
        };
        percent_decode_str(part).decode_utf8().map(|text| text.into_owned()).map_err(invalid)
    };
    values.into_iter().map(decode).collect::<Result<_, _>>().map(Some)
}

async fn document(_: Caller, _: Request) -> Result<Response, Problem> {
    Ok(json_response(&openapi::document(routes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_route_with_decoded_values() {
        for (method, path, expected) in [
            (Method::GET, "/api/v1/devices", Ok(("/devices", vec![]))),
            (Method::PATCH, "/api/v1/devices/a%2Ab", Ok(("/devices/{id}", vec!["a*b"]))),
            (Method::POST, "/api/v1/devices/x/revoke", Ok(("/devices/{id}/revoke", vec!["x"]))),
            // An empty id, which is not a device.
            (Method::GET, "/api/v1/devices/", Ok(("/devices/{id}", vec![""]))),
            (Method::GET, "/api", Err(Code::NotFound)),
            (Method::GET, "/api/v1", Err(Code::NotFound)),
            (Method::GET, "/api/v1/", Err(Code::NotFound)),
            (Method::GET, "/api/v2/devices", Err(Code::NotFound)),
            (Method::GET, "/api/v1/x", Err(Code::NotFound)),
            (Method::POST, "/api/v1/devices", Err(Code::MethodNotAllowed)),
            (Method::GET, "/api/v1/devices/%ff", Err(Code::InvalidPath)),
        ] {
            let found = find(&method, path);
            let found = found.as_ref().map_err(|problem| problem.code).map(|matched| {
                (matched.route.path, matched.values.iter().map(String::as_str).collect())
            });
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    #[test]
    fn no_two_routes_have_the_same_method_and_path() {
        let mut seen = std::collections::HashSet::new();
        for route in routes() {
            assert!(seen.insert((&route.method, route.path)), "{}", route.path);
        }
    }
}
