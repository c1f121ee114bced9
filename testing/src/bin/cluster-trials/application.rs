//! The applications of a trial: they send, ask, revoke and read by the API of any server.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use fedecks_testing::fleet_history::FleetEntry;
use fedecks_testing::history::{Answer, Direction, Entry, Message, Place};
use fedecks_testing::http::Http;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::device::Doomed;
use crate::world::{Device, LANES, World, parse, text};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(12);

/// A complete answer, unless the server is away.
pub(crate) async fn answer(
    api: &Http,
    method: Method,
    path: &str,
    body: String,
) -> Option<(StatusCode, Value)> {
    let answered = async {
        let response = api.try_open(method, path, body).await?;
        let status = response.status();
        let bytes = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    };
    timeout(PATIENCE, answered).await.ok()?
}

/// Sends messages to a device, one after the other, until the trial is over.
pub(crate) async fn sends(apis: Rc<[Http]>, device: Rc<Device>, world: Rc<World>, mut random: Rng) {
    let mut numbers = [0; 2];
    while !world.is_over.get() {
        let lane = random.usize(..LANES.len());
        numbers[lane] += 1;
        let message =
            Message { direction: Direction::Down, lane: LANES[lane], number: numbers[lane] };
        let Some(answer) = send(&apis, &device, &world, message, &mut random).await else { return };
        device.messages.add(Entry::Answered(message, answer));
        sleep(world.pause(Duration::from_millis(random.u64(600..3_000)))).await;
    }
}

/// Sends a message until it is answered, with the same key; `None` if it is not until long after the trial.
async fn send(
    apis: &[Http],
    device: &Device,
    world: &World,
    message: Message,
    random: &mut Rng,
) -> Option<Answer> {
    world.history.add(FleetEntry::Made(device.number, message));
    device.messages.add(Entry::Sent(message));
    let body = text(message);
    let lane = if message.lane == LANES[0] { "normal" } else { "urgent" };
    let path = format!("/api/v1/devices/{}/raw-messages?keep=true&lane={lane}", device.id);
    let key = body.replace(' ', "-");
    let mut may_be_queued = false;
    loop {
        let api = apis[random.usize(..apis.len())].clone();
        let api = api.header("idempotency-key", &key);
        let api = api.header("content-type", "application/octet-stream");
        match answer(&api, Method::POST, &path, body.clone()).await {
            Some((StatusCode::ACCEPTED, json)) => {
                let id = json["id"].as_str().map(str::to_owned);
                return Some(Answer::Accepted(Place::Disk, id));
            }
            // Of this request, not of an earlier one.
            Some((status, _)) if status.is_client_error() => {
                if !may_be_queued {
                    return Some(Answer::Refused);
                }
            }
            // It may have been stored, or it may be stored now by a server that seemed to be away.
            Some(_) | None => may_be_queued = true,
        }
        sleep(Duration::from_millis(random.u64(50..300))).await;
    }
}

/// Asks random devices until the trial is over. An answer has to be that of the question.
pub(crate) async fn asks(apis: Rc<[Http]>, world: Rc<World>, mut random: Rng) {
    let mut question = 0;
    while !world.is_over.get() {
        question += 1;
        let device = &world.devices[random.usize(..world.devices.len())];
        ask(&apis[random.usize(..apis.len())], device, question, &world).await;
        sleep(Duration::from_millis(random.u64(50..400))).await;
    }
}

/// Asks a device; whether it has answered.
pub(crate) async fn ask(api: &Http, device: &Device, question: u64, world: &World) -> bool {
    let path = format!("/api/v1/devices/{}/requests?timeout=5", device.id);
    let answer = answer(&api.clone().json(), Method::POST, &path, question.to_string()).await;
    let Some((StatusCode::OK, json)) = answer else { return false };
    if json["reply"] != question {
        let text = format!("{} was asked {question}, and answered {json}", device.id);
        world.history.add(FleetEntry::Broken(text));
    }
    true
}

/// Revokes devices one after the other, with this time before each, until the API confirms it.
pub(crate) async fn revokes(
    apis: Rc<[Http]>,
    doomed: Vec<Rc<Doomed>>,
    world: Rc<World>,
    pause: Duration,
    mut random: Rng,
) {
    for device in doomed {
        sleep(pause).await;
        let path = format!("/api/v1/devices/{}/revoke", device.id);
        loop {
            let api = apis[random.usize(..apis.len())].clone().json();
            let answer = answer(&api, Method::POST, &path, String::new()).await;
            if answer.is_some_and(|(status, _)| status.is_success()) {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        world.history.add(FleetEntry::Revoked(device.number));
        device.is_revoked.set(true);
    }
}

/// Reads the log of the devices' kept messages at any server, each after the one before. Never returns.
pub(crate) async fn reads_log(apis: Rc<[Http]>, world: Rc<World>, mut random: Rng) {
    let mut next = "0".to_owned();
    loop {
        sleep(Duration::from_millis(100)).await;
        let api = &apis[random.usize(..apis.len())];
        let path = format!("/api/v1/messages?limit=500&after={next}");
        let Some((StatusCode::OK, page)) = answer(api, Method::GET, &path, String::new()).await
        else {
            continue;
        };
        for listed in page["messages"].as_array().unwrap() {
            let Some((device, message)) = listed_message(listed, &world) else { continue };
            let id = listed["id"].as_str().map(str::to_owned);
            device.outbox.receive(message, id, listed["redelivered"] == true);
        }
        page["next"].as_str().unwrap().clone_into(&mut next);
    }
}

/// The message of a device in an entry of the log or an event.
pub(crate) fn listed_message<'a>(
    listed: &Value,
    world: &'a World,
) -> Option<(&'a Rc<Device>, Message)> {
    let device = world.device(listed["device"].as_str()?)?;
    Some((device, parse(Direction::Up, listed["message"].as_str()?)?))
}

/// The ids of the devices that are connected, as a server says; `None` if it does not answer.
pub(crate) async fn presence(api: &Http) -> Option<Vec<String>> {
    let mut connected = Vec::new();
    let mut path = "/api/v1/presence?limit=500".to_owned();
    loop {
        let (status, json) = answer(api, Method::GET, &path, String::new()).await?;
        if status != StatusCode::OK {
            return None;
        }
        let listed = json["devices"].as_array()?;
        connected.extend(listed.iter().filter_map(|it| Some(it["id"].as_str()?.to_owned())));
        let Some(next) = json["next"].as_str() else { return Some(connected) };
        path = format!("/api/v1/presence?limit=500&cursor={next}");
    }
}
