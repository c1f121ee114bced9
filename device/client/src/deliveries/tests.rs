//! Consumers of kept messages, with a cloud that is played by the test.

use fedecks_device_core::Event;
use fedecks_protocol::{
    Ack, Capabilities, CloseCode, Credentials, DeliveryFrame, DeliveryOffer, DeviceId, Dialect,
    DownFrame, InstallationId, Kept, Limits, Resume, StreamId, UpFrame,
};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::testing::{accept_with, send_frame, within};
use crate::{Client, ClientBuilder, Events};

struct Cloud {
    listener: TcpListener,
    directory: TempDir,
}

struct Session(WebSocketStream<TcpStream>);

impl Cloud {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, directory: tempfile::tempdir().unwrap() }
    }

    fn builder(&self) -> ClientBuilder {
        let url = format!("ws://{}", self.listener.local_addr().unwrap()).parse().unwrap();
        let builder = Client::builder(url, DeviceId::new("kitchen-1").unwrap());
        let least = Duration::from_millis(10);
        builder
            .data_dir(self.directory.path().join("data"))
            .runtime_dir(self.directory.path().join("run"))
            .backoff(least, least)
    }

    /// A client that is logged in, and its session.
    async fn login(&self, builder: ClientBuilder) -> (Client, Events, Session) {
        let (client, events) = builder.start().await.unwrap();
        let credentials = Credentials::new().with("username", "marvin");
        let (login, session) = tokio::join!(client.login(credentials), self.accept());
        login.unwrap();
        (client, events, session)
    }

    async fn accept(&self) -> Session {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let (capabilities, installation) = (Capabilities::ALL, InstallationId([7; 16]));
        Session(accept_with(stream, DeliveryOffer { capabilities, installation }).await)
    }
}

impl Session {
    async fn send(&mut self, frame: &DownFrame) {
        send_frame(&mut self.0, frame).await;
    }

    async fn resume(&mut self, oldest: u64, newest: u64) {
        let (handle, lane, stream) = (1, Lane::Normal, StreamId([3; 16]));
        let resume = Resume { handle, lane, stream, oldest, newest };
        self.send(&DownFrame::Delivery(DeliveryFrame::Resume(resume))).await;
    }

    async fn kept(&mut self, sequence: u64) {
        let content = Dialect::Bincode.keep_term(&Term::from(sequence), &Limits::default());
        let content = Content::Term(content.unwrap());
        let (handle, tag) = (1, Tag(100 + sequence));
        let (sent_at_ms, redelivered) = (Some(5), false);
        let kept = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
        self.send(&DownFrame::Delivery(DeliveryFrame::Kept(kept))).await;
    }

    /// The next acknowledgement of another position than this.
    async fn ack_after(&mut self, before: u64) -> Ack {
        loop {
            let message = within(self.0.next()).await.unwrap().unwrap();
            if !message.is_binary() {
                continue;
            }
            let bytes = message.into_data();
            let frame = Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap();
            if let UpFrame::Delivery(DeliveryFrame::Ack(ack)) = frame {
                if ack.up_to != before {
                    return ack;
                }
            }
        }
    }
}

async fn next(deliveries: &mut Deliveries) -> (u64, bool, Delivery) {
    let delivery = within(deliveries.next()).await.unwrap();
    (delivery.parse().unwrap(), delivery.redelivered(), delivery)
}

#[tokio::test]
async fn a_consumer_acknowledges_rejects_and_gives_back() {
    let cloud = Cloud::new().await;
    let (client, _events, mut session) = cloud.login(cloud.builder()).await;
    let mut deliveries = client.deliveries(Lane::Normal).unwrap();
    assert_eq!(client.deliveries(Lane::Normal).unwrap_err(), LaneInUse(Lane::Normal));
    client.deliveries(Lane::Urgent).unwrap();
    session.resume(1, 4).await;
    for sequence in 1..=4 {
        session.kept(sequence).await;
    }
    let (number, redelivered, first) = next(&mut deliveries).await;
    assert_eq!((number, redelivered, first.id()), (1, false, Tag(101)));
    assert_eq!(first.sent_at(), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(5)));
    assert_eq!(client.status().inbox.messages, 4);
    assert_eq!(client.health().inbox.messages, 4);
    first.ack();
    next(&mut deliveries).await.2.reject();
    // Dropped, it comes again after a while, before those behind it.
    let dropped = Instant::now();
    assert_eq!(next(&mut deliveries).await.0, 3);
    let (number, redelivered, third) = next(&mut deliveries).await;
    assert_eq!((number, redelivered), (3, true));
    assert!(dropped.elapsed() >= AGAIN);
    // So does what a consumer had that is gone.
    drop((deliveries, third));
    let mut deliveries = client.deliveries(Lane::Normal).unwrap();
    for expected in [(3, true), (4, false)] {
        let (number, redelivered, delivery) = next(&mut deliveries).await;
        assert_eq!((number, redelivered), expected);
        delivery.ack();
    }
    let mut ack = session.ack_after(0).await;
    let mut rejected = ack.rejected.clone();
    while ack.up_to < 4 {
        ack = session.ack_after(ack.up_to).await;
        rejected.extend(ack.rejected.iter());
    }
    rejected.dedup();
    assert_eq!((ack.tag, rejected), (Tag(104), vec![2]));
    client.shutdown().await;
    assert!(within(deliveries.next()).await.is_none());
}

#[tokio::test]
async fn without_a_consumer_events_acknowledge_and_later_ones_wait() {
    let cloud = Cloud::new().await;
    let (client, mut events, mut session) = cloud.login(cloud.builder()).await;
    session.resume(1, 3).await;
    session.kept(1).await;
    let message = async {
        loop {
            if let Event::Message(message) = events.next().await.unwrap() {
                return message;
            }
        }
    };
    assert_eq!(within(message).await, Term::from(1));
    assert_eq!(session.ack_after(0).await.up_to, 1);
    // No one reads: it waits for the next one who does.
    drop(events);
    session.kept(2).await;
    let mut status = client.watch_status();
    within(status.wait_for(|status| status.inbox.messages == 1)).await.unwrap();
    let mut events = client.subscribe();
    assert_eq!(session.ack_after(1).await.up_to, 2);
    assert_eq!(within(events.next()).await, Some(Event::Message(Term::from(2))));
    // After the first consumer, messages wait for the next one.
    drop(client.deliveries(Lane::Normal).unwrap());
    session.kept(3).await;
    let (number, redelivered, third) = next(&mut client.deliveries(Lane::Normal).unwrap()).await;
    assert_eq!((number, redelivered), (3, false));
    third.ack();
    assert_eq!(session.ack_after(2).await.up_to, 3);
}

#[tokio::test]
async fn what_is_acknowledged_does_not_come_again_after_a_restart() {
    let cloud = Cloud::new().await;
    let builder = || cloud.builder().wait_for_consumer(true);
    let (client, events, mut session) = cloud.login(builder()).await;
    session.resume(1, 3).await;
    for sequence in 1..=3 {
        session.kept(sequence).await;
    }
    let mut status = client.watch_status();
    within(status.wait_for(|status| status.inbox.messages == 3)).await.unwrap();
    let mut deliveries = client.deliveries(Lane::Normal).unwrap();
    next(&mut deliveries).await.2.ack();
    next(&mut deliveries).await.2.ack();
    within(status.wait_for(|status| status.inbox.messages == 1)).await.unwrap();
    // The cloud does not read any acknowledgement.
    within(client.shutdown()).await;
    drop((events, session));

    let (client, _events) = builder().start().await.unwrap();
    let mut session = cloud.accept().await;
    session.resume(1, 3).await;
    assert_eq!(session.ack_after(0).await.up_to, 2);
    session.kept(3).await;
    let mut deliveries = client.deliveries(Lane::Normal).unwrap();
    assert_eq!(next(&mut deliveries).await.0, 3);
}

#[tokio::test]
async fn a_cloud_that_breaks_the_rules_is_left() {
    let cloud = Cloud::new().await;
    let (_client, _events, mut session) = cloud.login(cloud.builder()).await;
    session.kept(1).await;
    let close = async {
        loop {
            if let Message::Close(Some(close)) = session.0.next().await.unwrap().unwrap() {
                return u16::from(close.code);
            }
        }
    };
    assert_eq!(within(close).await, CloseCode::ProtocolError.code());
}
