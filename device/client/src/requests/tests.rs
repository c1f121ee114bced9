//! Requests in both directions, with a cloud that is played by the test.

use std::time::Duration;

use fedecks_protocol::{
    Capabilities, Credentials, DeliveryOffer, DeviceId, Dialect, DownFrame, InstallationId, Limits,
    NoReplyReason, RequestFrame, RequestId, Term, UpFrame,
};
use futures_util::StreamExt;
use futures_util::future::poll_immediate;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::Client;
use crate::testing::{accept_with, send_frame, within};

/// The cloud's end.
struct Cloud(WebSocketStream<TcpStream>);

impl Cloud {
    async fn send(&mut self, frame: &DownFrame) {
        send_frame(&mut self.0, frame).await;
    }

    async fn ask(&mut self, number: u64, question: &str) {
        let content = encoded(question);
        let (request, timeout_ms) = (RequestId(number), 5_000);
        let frame = RequestFrame::Request { request, timeout_ms, content };
        self.send(&DownFrame::Request(frame)).await;
    }

    /// The next frame about requests.
    async fn next(&mut self) -> RequestFrame {
        loop {
            let message = within(self.0.next()).await.unwrap().unwrap();
            let Message::Binary(bytes) = message else { continue };
            let frame = Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap();
            if let UpFrame::Request(frame) = frame {
                return frame;
            }
        }
    }
}

fn encoded(text: &str) -> EncodedTerm {
    Dialect::Bincode.keep_term(&Term::from(text), &Limits::default()).unwrap()
}

fn replies(number: u64, text: &str) -> RequestFrame {
    RequestFrame::Reply { request: RequestId(number), content: encoded(text) }
}

fn refuses(number: u64, reason: NoReplyReason, text: &str) -> RequestFrame {
    RequestFrame::no_reply(RequestId(number), reason, text)
}

async fn connected() -> (Client, Cloud, TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let builder = Client::builder(url, DeviceId::new("kitchen-1").unwrap());
    let (client, _) = builder.data_dir(directory.path()).start().await.unwrap();
    let login = client.login(Credentials::new().with("username", "marvin"));
    let welcomed = async {
        let (capabilities, installation) = (Capabilities::REQUESTS, InstallationId([0; 16]));
        let stream = listener.accept().await.unwrap().0;
        Cloud(accept_with(stream, DeliveryOffer { capabilities, installation }).await)
    };
    let (logged_in, cloud) = within(async { tokio::join!(login, welcomed) }).await;
    logged_in.unwrap();
    (client, cloud, directory)
}

#[tokio::test]
async fn the_cloud_answers() {
    let (client, mut cloud, _data) = connected().await;
    let asked = client.request::<String>("time?", DEFAULT_TIMEOUT);
    let answered = async {
        let frame = cloud.next().await;
        let (request, timeout_ms) = (RequestId(1), 30_000);
        let content = encoded("time?");
        assert_eq!(frame, RequestFrame::Request { request, timeout_ms, content });
        cloud.send(&DownFrame::Request(replies(1, "noon"))).await;
    };
    let (answer, ()) = within(async { tokio::join!(asked, answered) }).await;
    assert_eq!(answer, Ok("noon".to_owned()));

    let asked = client.request::<u32>("time?", Duration::from_millis(20));
    let error = within(asked).await.unwrap_err();
    assert_eq!(error, ClientRequestError::Request(RequestError::TimedOut));
    cloud.next().await;
    assert_eq!(cloud.next().await, RequestFrame::Cancel { request: RequestId(2) });

    let asked = client.request::<u32>("time?", DEFAULT_TIMEOUT);
    let lost = async {
        cloud.next().await;
        drop(cloud);
    };
    let (answer, ()) = within(async { tokio::join!(asked, lost) }).await;
    assert_eq!(answer, Err(ClientRequestError::Request(RequestError::OutcomeUnknown)));
    let error = within(client.request::<u32>("time?", DEFAULT_TIMEOUT)).await.unwrap_err();
    assert_eq!(error, ClientRequestError::Request(RequestError::NotConnected));
}

#[tokio::test]
async fn a_dropped_request_is_cancelled_and_makes_room() {
    let (client, mut cloud, _data) = connected().await;
    let mut waiting: Vec<_> =
        (0..16).map(|_| Box::pin(client.request::<u32>("time?", DEFAULT_TIMEOUT))).collect();
    for request in &mut waiting {
        assert!(poll_immediate(request).await.is_none());
        cloud.next().await;
    }
    let error = within(client.request::<u32>("time?", DEFAULT_TIMEOUT)).await.unwrap_err();
    assert_eq!(error, ClientRequestError::Request(RequestError::Busy));
    waiting.truncate(15);
    assert_eq!(cloud.next().await, RequestFrame::Cancel { request: RequestId(16) });
    let mut next = Box::pin(client.request::<u32>("time?", DEFAULT_TIMEOUT));
    assert!(poll_immediate(&mut next).await.is_none());
    assert!(matches!(cloud.next().await, RequestFrame::Request { request: RequestId(17), .. }));
    client.shutdown().await;
    let error = within(next).await.unwrap_err();
    assert_eq!(error, ClientRequestError::Request(RequestError::OutcomeUnknown));
}

#[tokio::test]
async fn one_consumer_answers() {
    let (client, mut cloud, _data) = connected().await;
    cloud.ask(1, "led?").await;
    assert_eq!(cloud.next().await, refuses(1, NoReplyReason::Unhandled, ""));

    let mut requests = client.requests().unwrap();
    assert_eq!(client.requests().unwrap_err(), AlreadyAnswering);
    cloud.ask(2, "led?").await;
    let request = within(requests.next()).await.unwrap();
    assert_eq!(request.parse::<String>(), Ok("led?".to_owned()));
    assert!(request.deadline() <= Instant::now() + Duration::from_secs(5));
    within(request.reply("on")).await.unwrap();
    assert_eq!(cloud.next().await, replies(2, "on"));

    cloud.ask(3, "led?").await;
    within(within(requests.next()).await.unwrap().fail("broken")).await.unwrap();
    assert_eq!(cloud.next().await, refuses(3, NoReplyReason::Failed, "broken"));

    cloud.ask(4, "led?").await;
    drop(within(requests.next()).await.unwrap());
    let text = "it was dropped without an answer";
    assert_eq!(cloud.next().await, refuses(4, NoReplyReason::Failed, text));

    // What it has not taken is answered when it goes.
    cloud.ask(5, "led?").await;
    let taken = within(requests.next()).await.unwrap();
    cloud.ask(6, "led?").await;
    let cancelled = async {
        cloud.send(&DownFrame::Request(RequestFrame::Cancel { request: RequestId(5) })).await;
        let mut taken = taken;
        taken.cancelled().await;
        taken.reply("late").await
    };
    let error = within(cancelled).await.unwrap_err();
    assert_eq!(error, AnswerError::Reply(ReplyError::NotWaiting));
    drop(requests);
    assert_eq!(cloud.next().await, refuses(6, NoReplyReason::Failed, text));
    cloud.ask(7, "led?").await;
    assert_eq!(cloud.next().await, refuses(7, NoReplyReason::Unhandled, ""));

    let mut requests = client.requests().unwrap();
    client.shutdown().await;
    assert!(within(requests.next()).await.is_none());
    drop(requests);
    assert!(within(client.requests().unwrap().next()).await.is_none());
}
