//! `/messages/consumers`: named readers of the log of kept messages, whose places the server keeps.

use fedecks_common::utc;
use fedecks_store::{
    ConsumerAnswer, ConsumerDevices, ConsumerRecord, DevicePattern, LogAcknowledged, OpenConsumer,
    Role, unix_now,
};
use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::{Parameter, ParameterKind};
use super::request::Request;
use super::route::{Handler, Route, handler};
use super::schemas::MAX_CONSUMER_NAME;
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::{json_response, no_content};

const STORE: Code = Code::StoreUnavailable;

/// The parameter that names a consumer.
pub(super) const CONSUMER: Parameter = Parameter {
    kind: ParameterKind::Consumer,
    ..Parameter::text(
        "consumer",
        "The name of a consumer, whose place the server keeps: 1 to 64 letters, digits, `_` and `-`",
    )
};

/// The errors of a page that is read for a consumer.
pub(super) const PROBLEMS: &[Code] = &[STORE, Code::ConsumerOfOtherDevices, Code::TooManyConsumers];

pub(super) const ROUTES: &[Route] = &[
    Route::new("listMessageConsumers", Method::GET, "/messages/consumers", handler!(list))
        .role(Role::Read)
        .summary("List the consumers of the kept messages of devices, by name")
        .returns::<MessageConsumers>("All consumers, or those of tokens with the same limit to some devices")
        .problems(&[STORE]),
    Route::new(
        "acknowledgeMessages",
        Method::POST,
        "/messages/consumers/{consumer}/ack",
        handler!(acknowledge),
    )
    .role(Role::Read)
    .summary("Say that a consumer is done with all messages up to the `next` of a page. A later place stays")
    .takes::<MessagesDone>()
    .returns_nothing("The consumer continues after it")
    .problems(&[STORE, Code::ConsumerNotFound, Code::BeyondLog]),
    Route::new(
        "removeMessageConsumer",
        Method::DELETE,
        "/messages/consumers/{consumer}",
        handler!(remove),
    )
    .role(Role::Admin)
    .summary("Remove a consumer. The messages stay in the log")
    .returns_nothing("Removed")
    .problems(&[STORE, Code::ConsumerNotFound]),
];

/// The consumers of the log.
#[derive(Debug, Serialize, ToSchema)]
struct MessageConsumers {
    consumers: Vec<MessageConsumer>,
}

/// A named reader of the log.
#[derive(Debug, Serialize, ToSchema)]
struct MessageConsumer {
    name: String,
    /// The pattern of the devices that it asked for; null for all.
    #[schema(required)]
    device: Option<String>,
    /// The pattern of the devices that its token is limited to; null if it is not.
    #[schema(required)]
    limited_to: Option<String>,
    /// Where it continues: the `next` that it acknowledged last.
    next: String,
    /// The number of messages in the log after that, of all devices.
    waiting: u64,
    /// The number of messages, of all devices, that left the log before it acknowledged them.
    missed: u64,
    /// When it last read or acknowledged, within a minute.
    #[schema(format = DateTime)]
    used_at: String,
}

/// What a consumer is done with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessagesDone {
    /// The `next` of a page.
    next: String,
}

/// Where a consumer continues, if the page is read for one, after it has acknowledged what is up to `after`.
pub(super) async fn open(
    caller: &Caller,
    request: &Request,
    after: Option<u64>,
    device: Option<&DevicePattern>,
) -> Result<Option<(String, u64)>, Problem> {
    let name = request.parsed("consumer", "1 to 64 letters, digits, _ and -", |text| {
        is_name(text).then(|| text.to_owned())
    })?;
    let Some(name) = name else { return Ok(None) };
    let devices = ConsumerDevices { asked: device.cloned(), scope: caller.scope().cloned() };
    let consumer = OpenConsumer { name, devices, after, at: unix_now() };
    match request.state.consumers.open_consumer(&consumer).await? {
        ConsumerAnswer::After(place) => Ok(Some((consumer.name, place))),
        ConsumerAnswer::OtherDevices => Err(Problem::new(
            Code::ConsumerOfOtherDevices,
            "the consumer was added with another `device`, or by a token with another limit; expected the same, or \
             another name",
        )),
        ConsumerAnswer::TooMany => {
            let most = ConsumerRecord::MAX;
            let detail =
                format!("there are {most} consumers, remove one that is not used any more");
            Err(Problem::new(Code::TooManyConsumers, detail))
        }
    }
}

async fn list(caller: Caller, request: Request) -> Result<Response, Problem> {
    let all = request.state.consumers.consumers().await?;
    let log = request.state.messages.log_status().await?;
    let seen = all.into_iter().filter(|consumer| can_see(&caller, consumer));
    let consumers = seen.map(|consumer| {
        let ConsumerRecord { name, devices, place, missed, used_at } = consumer;
        let text = |pattern: Option<DevicePattern>| pattern.map(|it| it.as_str().to_owned());
        MessageConsumer {
            name,
            device: text(devices.asked),
            limited_to: text(devices.scope),
            next: place.to_string(),
            waiting: (log.next - 1).saturating_sub(place.max(log.first - 1)),
            missed,
            used_at: utc(used_at),
        }
    });
    Ok(json_response(&MessageConsumers { consumers: consumers.collect() }))
}

async fn acknowledge(caller: Caller, request: Request) -> Result<Response, Problem> {
    let MessagesDone { next } = request.json()?;
    let next = next.parse().map_err(|_| {
        let detail = format!("next is {next:?}, expected the `next` of a page");
        Problem::new(Code::InvalidBody, detail)
    })?;
    let name = known(&caller, &request).await?;
    match request.state.consumers.acknowledge_log(name, next, unix_now()).await? {
        LogAcknowledged::Done => Ok(no_content()),
        LogAcknowledged::Unknown => Err(not_found()),
        LogAcknowledged::BeyondLog => Err(Problem::new(
            Code::BeyondLog,
            "the log has not come that far, as after a restore; read it without `after`",
        )),
    }
}

async fn remove(caller: Caller, request: Request) -> Result<Response, Problem> {
    let name = known(&caller, &request).await?;
    let removed = request.state.consumers.remove_consumer(name).await?;
    if removed { Ok(no_content()) } else { Err(not_found()) }
}

/// The consumer in the path, if the caller may see it.
async fn known<'a>(caller: &Caller, request: &'a Request) -> Result<&'a str, Problem> {
    let name = request.name();
    let all = request.state.consumers.consumers().await?;
    let is_known = all.iter().any(|known| known.name == name && can_see(caller, known));
    if is_known { Ok(name) } else { Err(not_found()) }
}

/// A token that is limited to some devices sees the consumers of tokens with this limit.
fn can_see(caller: &Caller, consumer: &ConsumerRecord) -> bool {
    caller.scope().is_none() || caller.scope() == consumer.devices.scope.as_ref()
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MAX_CONSUMER_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

fn not_found() -> Problem {
    Problem::new(
        Code::ConsumerNotFound,
        "no consumer with this name, or your token has no access to it",
    )
}
