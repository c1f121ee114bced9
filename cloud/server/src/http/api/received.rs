//! `/messages`: the log of the kept messages of devices, for a reader that misses none.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use fedecks_common::{utc, utc_millis};
use fedecks_store::{LogQuery, LoggedContent, LoggedMessage, Role};
use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::Parameter;
use super::message_consumers::{self, CONSUMER};
use super::paging::{self, LIMIT};
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::response::json_response;

pub(super) const ROUTES: &[Route] =
    &[Route::new("listReceivedMessages", Method::GET, "/messages", handler!(list))
        .role(Role::Read)
        .summary(
            "List the kept messages of devices, oldest first. The log has those of the last 7 days, up to 1 GiB. A \
             reader that stores `next` together with what it does, and continues after it, handles each message once",
        )
        .query(&[
            Parameter::text(
                "after",
                "Only messages after this `next` of another page, which a consumer is done with; by default all, or \
                 those after the place of the consumer",
            ),
            CONSUMER,
            Parameter::text(
                "device",
                "Only messages of devices that match this pattern, such as `site-a-*`",
            ),
            LIMIT,
        ])
        .returns::<ReceivedPage>("A page of messages")
        .problems(message_consumers::PROBLEMS)];

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
struct ReceivedPage {
    messages: Vec<ReceivedMessage>,
    /// Where the next page begins, also if there are no more messages yet.
    next: String,
    /// The number of messages, of all devices, that left the log before they were read: after `after`, or after the
    /// place of the consumer, and then until it acknowledges what follows them.
    missed: u64,
}

/// A kept message of a device.
#[derive(Debug, Serialize, ToSchema)]
struct ReceivedMessage {
    device: String,
    /// Its id, unique for the device.
    #[schema(min_length = 16, max_length = 64, pattern = "^[0-9A-Za-z_-]+$")]
    id: String,
    /// `normal` or `urgent`.
    lane: String,
    /// Whether it may have been handled before, with the same id.
    redelivered: bool,
    /// When the device accepted it; null if the device's clock was not plausible.
    #[schema(required, format = DateTime)]
    sent_at: Option<String>,
    /// When it was stored here.
    #[schema(format = DateTime)]
    received_at: String,
    /// The message; null for bytes. Any JSON.
    #[schema(required, value_type = serde_json::Value)]
    message: Option<Box<RawValue>>,
    /// The bytes, in base64; null for a message.
    #[schema(required, format = Byte, content_encoding = "base64")]
    bytes: Option<String>,
}

async fn list(caller: Caller, request: Request) -> Result<Response, Problem> {
    let limit = paging::limit(&request)?;
    let after = request.parsed("after", "the `next` of another page", |text| text.parse().ok())?;
    let device = request.parsed("device", "a device pattern", |text| text.parse().ok())?;
    let consumer = message_consumers::open(&caller, &request, after, device.as_ref()).await?;
    let devices = device.into_iter().chain(caller.scope().cloned()).collect();
    let from = consumer.as_ref().map_or(after.unwrap_or(0_u64), |(_, place)| *place);
    let store = &request.state.messages;
    // Before the messages, so that none is skipped that is added meanwhile.
    let status = store.log_status().await?;
    let query = LogQuery { after: from, devices, limit: limit as u32 };
    let found = store.logged(&query).await?;
    let read_to = found.last().map(|last| last.number);
    let next = match read_to {
        Some(last) if found.len() >= limit => last,
        read_to => read_to.unwrap_or(0).max(status.next - 1).max(from),
    };
    let missed = match &consumer {
        // After the messages were read: what left the log meanwhile may be missing from the page.
        Some((name, _)) => request.state.consumers.count_missed(name).await?,
        None => after.map_or(0, |after| (status.first - 1).saturating_sub(after)),
    };
    let messages = found.into_iter().map(received).collect();
    Ok(json_response(&ReceivedPage { messages, next: next.to_string(), missed }))
}

fn received(logged: LoggedMessage) -> ReceivedMessage {
    let LoggedMessage { device, lane, id, message, .. } = logged;
    let sent_at = message.sent_at_ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    let (json, bytes) = match message.content {
        LoggedContent::Json(json) => {
            let json = String::from_utf8(json.to_vec()).ok();
            (json.and_then(|json| RawValue::from_string(json).ok()), None)
        }
        LoggedContent::Raw(bytes) => (None, Some(BASE64.encode(&bytes))),
    };
    ReceivedMessage {
        device: device.to_string(),
        id: id.to_string(),
        lane: lane.as_str().to_owned(),
        redelivered: message.redelivered,
        sent_at: sent_at.map(|at| utc_millis(at).to_string()),
        received_at: utc(message.at),
        message: json,
        bytes,
    }
}
