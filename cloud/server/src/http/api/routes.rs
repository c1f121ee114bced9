//! The table of all that the API does.

use fedecks_store::Role;
use http::Method;
use percent_encoding::percent_decode_str;
use utoipa::openapi::{RefOr, Schema};
use warp::reply::Response;

use super::input::{Accepts, Parameter, ParameterKind};
use super::request::Request;
use super::route::{Answers, PREFIX, Route, Success};
use super::{
    accounts, audit, devices, events, history, messages, objects, openapi, presence, tokens,
};
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;

/// A route, and what stands in the place of the names in its path.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) route: &'static Route,
    pub(super) values: Vec<String>,
}

/// The route of a request.
pub(super) fn find(method: &Method, path: &str) -> Result<Matched, Problem> {
    let nothing = || Problem::new(Code::NotFound, "see /api/v1/openapi.json for what there is");
    let path = path.strip_prefix(PREFIX).ok_or_else(nothing)?;
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(values) = match_path(route.path, path)? else { continue };
        if route.method == *method {
            return Ok(Matched { route, values });
        }
        allowed.push(route.method.as_str());
    }
    if allowed.is_empty() {
        Err(nothing())
    } else {
        Err(Problem::method_not_allowed(&allowed.join(", ")))
    }
}

fn match_path(pattern: &str, path: &str) -> Result<Option<Vec<String>>, Problem> {
    let (mut wanted, mut there) = (pattern.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (wanted.next(), there.next()) {
            (None, None) => break,
            (Some(name), Some(part)) if name.starts_with('{') => values.push(part),
            (Some(name), Some(part)) if name == part => {}
            (Some(_) | None, Some(_) | None) => return Ok(None),
        }
    }
    let decode = |part: &str| {
        let text = percent_decode_str(part).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| {
            Problem::new(Code::InvalidPath, format!("{part:?} is no UTF-8 once it is decoded"))
        })
    };
    values.into_iter().map(decode).collect::<Result<_, _>>().map(Some)
}

macro_rules! handler {
    ($function:path) => {
        |request| Box::pin($function(request))
    };
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    about: "How many there may be in the answer, 1 to 500; 100 if this is not there",
    kind: ParameterKind::Limit,
    repeats: false,
};

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind: ParameterKind::Text, repeats: false }
}

const fn flag(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind: ParameterKind::Flag, repeats: false }
}

const CURSOR: Parameter = text("cursor", "The `next` of the page before");

const fn json(about: &'static str, schema: fn() -> RefOr<Schema>) -> Success {
    Success { status: 200, about, content: Answers::Json(schema) }
}

const fn nothing(about: &'static str) -> Success {
    Success { status: 204, about, content: Answers::Nothing }
}

/// What a route is unless it says otherwise.
const ROUTE: Route = Route {
    method: Method::GET,
    path: "",
    role: None,
    all_devices: false,
    summary: "",
    query: &[],
    body: None,
    success: nothing("Done"),
    problems: &[],
    handler: handler!(description),
};

async fn description(_: Request) -> Result<Response, Problem> {
    Ok(json_response(&openapi::document(ROUTES)))
}

const STORE: Code = Code::StoreUnavailable;
const NO_DEVICE: Code = Code::DeviceNotFound;

pub(super) static ROUTES: &[Route] = &[
    Route {
        path: "/openapi.json",
        summary: "This description",
        success: Success {
            status: 200,
            about: "An OpenAPI 3.1 document",
            content: Answers::AnyJson,
        },
        ..ROUTE
    },
    Route {
        path: "/token",
        summary: "What the token that is presented allows",
        success: json("The token", objects::schema::<objects::Token>),
        handler: handler!(tokens::mine),
        ..ROUTE
    },
    Route {
        path: "/devices",
        role: Some(Role::Read),
        summary: "The devices that are known, ordered by id. A page may be shorter than asked for: it is \
                  the last one if it has no `next`",
        query: &[
            text(
                "search",
                "Only those with this text in their id or label, in upper or lower case",
            ),
            flag("connected", "Only those that are connected, or only those that are not"),
            flag("blocked", "Only those that are blocked, or only those that are not"),
            CURSOR,
            LIMIT,
        ],
        success: json("A page of devices", objects::schema::<objects::DevicePage>),
        problems: &[STORE, Code::InvalidQuery],
        handler: handler!(devices::list),
        ..ROUTE
    },
    Route {
        path: "/devices/{id}",
        role: Some(Role::Read),
        summary: "One device",
        success: json("The device", objects::schema::<objects::Device>),
        problems: &[STORE, NO_DEVICE],
        handler: handler!(devices::get),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        path: "/devices/{id}",
        role: Some(Role::Admin),
        summary: "Give a device a label, or take it away with null",
        body: Some(Accepts::Json(objects::schema::<objects::DeviceChange>)),
        success: json("The device as it is now", objects::schema::<objects::Device>),
        problems: &[STORE, NO_DEVICE],
        handler: handler!(devices::change),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/devices/{id}",
        role: Some(Role::Admin),
        summary: "Forget a device: it is in no list any more and its tokens are worthless. It is known \
                  again once it logs in by credentials",
        success: nothing("It is forgotten"),
        problems: &[STORE, NO_DEVICE, Code::DeviceIsBlocked],
        handler: handler!(devices::forget),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/devices/{id}/messages",
        role: Some(Role::Send),
        summary: "Send a message to a device: any JSON becomes a term, application/octet-stream goes as \
                  bytes. It waits in the device's queue then and is lost if the connection breaks \
                  before it is sent",
        body: Some(Accepts::Message),
        success: Success {
            status: 202,
            about: "It is in the device's queue",
            content: Answers::Nothing,
        },
        problems: &[
            STORE,
            NO_DEVICE,
            Code::DeviceNotConnected,
            Code::MessageTooBig,
            Code::MessageTooDeep,
            Code::DeviceQueueFull,
            Code::Unavailable,
        ],
        handler: handler!(messages::send),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/devices/{id}/disconnect",
        role: Some(Role::Admin),
        summary: "Close a device's connection. It comes back by itself",
        success: nothing("It is being closed"),
        problems: &[STORE, NO_DEVICE, Code::DeviceNotConnected, Code::Unavailable],
        handler: handler!(devices::disconnect),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/devices/{id}/revoke",
        role: Some(Role::Admin),
        summary: "Make every token of a device worthless, and close its connection. It has to log in by \
                  credentials",
        success: nothing("They are worthless"),
        problems: &[STORE, NO_DEVICE],
        handler: handler!(devices::revoke),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/devices/{id}/block",
        role: Some(Role::Admin),
        summary: "Refuse a device until it is unblocked, and close its connection. Its tokens stay what \
                  they are",
        success: nothing("It is blocked"),
        problems: &[STORE, NO_DEVICE],
        handler: handler!(devices::block),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/devices/{id}/unblock",
        role: Some(Role::Admin),
        summary: "Let a blocked device in again",
        success: nothing("It is not blocked"),
        problems: &[STORE, NO_DEVICE],
        handler: handler!(devices::unblock),
        ..ROUTE
    },
    Route {
        path: "/devices/{id}/presence",
        role: Some(Role::Read),
        summary: "Whether a device is connected",
        success: json("Its presence", objects::schema::<objects::Presence>),
        problems: &[STORE, NO_DEVICE, Code::Unavailable],
        handler: handler!(presence::of_device),
        ..ROUTE
    },
    Route {
        path: "/presence",
        role: Some(Role::Read),
        summary: "The devices that are connected, ordered by id. Needs no store",
        query: &[CURSOR, LIMIT],
        success: json("A page of them", objects::schema::<objects::PresencePage>),
        problems: &[Code::Unavailable, Code::InvalidQuery],
        handler: handler!(presence::list),
        ..ROUTE
    },
    Route {
        path: "/history",
        role: Some(Role::Read),
        all_devices: true,
        summary: "What was counted in each minute of the last 24 hours, since the server began",
        success: json("The minutes", objects::schema::<objects::History>),
        handler: handler!(history::get),
        ..ROUTE
    },
    Route {
        path: "/events",
        role: Some(Role::Read),
        summary: "What happens to the devices, as it happens: server-sent events whose data are objects \
                  with `id`, `time`, `kind` and `device`. An event of the kind `gap` says that some are \
                  missing before the next one",
        query: &[
            text(
                "device",
                "Only those of the devices that this matches; * stands for any characters",
            ),
            Parameter {
                name: "kind",
                about: "Only those of this kind; may stand there more than once",
                kind: ParameterKind::Kind,
                repeats: true,
            },
            text("after", "The id of the last event seen, as the header Last-Event-ID"),
        ],
        success: Success {
            status: 200,
            about: "The stream, which ends with the server or the token",
            content: Answers::EventStream,
        },
        problems: &[Code::TooManyStreams, Code::InvalidQuery],
        handler: handler!(events::stream),
        ..ROUTE
    },
    Route {
        path: "/accounts",
        role: Some(Role::Admin),
        all_devices: true,
        summary: "The accounts that devices log in with",
        success: json("All of them", objects::schema::<objects::Accounts>),
        problems: &[STORE],
        handler: handler!(accounts::list),
        ..ROUTE
    },
    Route {
        method: Method::PUT,
        path: "/accounts/{name}",
        role: Some(Role::Admin),
        all_devices: true,
        summary: "Add an account",
        body: Some(Accepts::Json(objects::schema::<objects::NewAccount>)),
        success: Success { status: 201, about: "It is there", content: Answers::Nothing },
        problems: &[STORE, Code::AccountExists],
        handler: handler!(accounts::add),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/accounts/{name}",
        role: Some(Role::Admin),
        all_devices: true,
        summary: "Remove an account. Devices that logged in with it keep their tokens",
        success: nothing("It is gone"),
        problems: &[STORE, Code::AccountNotFound],
        handler: handler!(accounts::remove),
        ..ROUTE
    },
    Route {
        path: "/audit",
        role: Some(Role::Admin),
        all_devices: true,
        summary: "Who changed what, newest first",
        query: &[text("device", "Only what was done to this device"), CURSOR, LIMIT],
        success: json("A page of it", objects::schema::<objects::AuditPage>),
        problems: &[STORE, Code::InvalidQuery],
        handler: handler!(audit::list),
        ..ROUTE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Result<(&'static str, Vec<String>), Code> {
        find(&method, path)
            .map(|matched| (matched.route.path, matched.values))
            .map_err(|problem| problem.code)
    }

    #[test]
    fn a_path_leads_to_its_route_with_its_values_decoded() {
        assert_eq!(found(Method::GET, "/api/v1/devices"), Ok(("/devices", vec![])));
        assert_eq!(
            found(Method::PATCH, "/api/v1/devices/a%2Ab"),
            Ok(("/devices/{id}", vec!["a*b".into()]))
        );
        assert_eq!(
            found(Method::POST, "/api/v1/devices/x/revoke"),
            Ok(("/devices/{id}/revoke", vec!["x".into()]))
        );
    }

    #[test]
    fn what_there_is_not_is_told_apart_from_what_is_done_otherwise() {
        for path in
            ["/api", "/api/v1", "/api/v1/", "/api/v2/devices", "/api/v1/devices/", "/api/v1/x"]
        {
            let expected = if path == "/api/v1/devices/" {
                // An empty id, which is no device.
                Ok(("/devices/{id}", vec![String::new()]))
            } else {
                Err(Code::NotFound)
            };
            assert_eq!(found(Method::GET, path), expected, "{path}");
        }
        assert_eq!(found(Method::POST, "/api/v1/devices"), Err(Code::MethodNotAllowed));
        assert_eq!(found(Method::GET, "/api/v1/devices/%ff"), Err(Code::InvalidPath));
    }

    #[test]
    fn no_two_routes_answer_the_same() {
        for (index, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[..index] {
                assert!(route.method != other.method || route.path != other.path, "{route:?}");
            }
        }
    }
}
