//! What else both ends promise together when things go wrong between them.

use std::time::Duration;

use fedecks_device::event::LostReason;
use fedecks_device::{Event, Term};
use fedecks_testing::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{
    By, Cloud, DEVICE, MySocketHandler, downstream, logged_in_device, next_connection, start_cloud,
};

/// Not a cloud: answers every request with this and closes.
async fn answer_with(listener: TcpListener, answer: &'static str) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.is_ok_and(|n| n > 0)
        {
        }
        let _ = socket.write_all(answer.as_bytes()).await;
    }
}

#[tokio::test]
async fn a_captive_portal_costs_the_device_no_token() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nLogin",
        "HTTP/1.1 302 Found\r\nlocation: http://portal.example/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\nDenied",
    ];
    let mut cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    assert_eq!(next_connection(&mut cloud).await, By::Credentials);
    for answer in answers {
        let address = cloud.stop().await;
        device.until_lost().await;
        let portal = tokio::spawn(answer_with(TcpListener::bind(address).await.unwrap(), answer));
        // The number of the answer is in the reason: it was this one and no refused connection.
        let status = &answer[9..12];
        let failed = |event: &Event| {
            matches!(event, Event::ConnectionFailed { reason }
                if reason.to_string().contains(status) && !reason.is_rejected())
        };
        device.until(failed).await;
        portal.abort();
        let _ = portal.await;
        cloud = Cloud::start_at(address, MySocketHandler).await;
        assert_eq!(next_connection(&mut cloud).await, By::Token, "after {answer:?}");
        device.until_connected().await;
    }
}

#[tokio::test]
async fn a_replaced_device_waits_at_least_half_of_the_backoff_cap() {
    let cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    let mut twin = logged_in_device(cloud.address).await;

    let lost = device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    assert!(
        matches!(&lost, Event::ConnectionLost { reason: LostReason::Closed(close) }
            if close.code.code() == 4409),
        "{lost:?}"
    );
    device.until(|event| *event == Event::Replaced).await;
    let scheduled = device.until(|event| matches!(event, Event::ConnectionScheduled { .. })).await;
    let Event::ConnectionScheduled { delay } = scheduled else { unreachable!() };
    // Half of the cap that these devices are given, which is 500 ms, is the least.
    assert!(delay >= Duration::from_millis(250), "{delay:?}");
    // Then it comes back and replaces the twin: both alternate, neither in a tight loop.
    twin.until(|event| *event == Event::Replaced).await;
}

#[tokio::test]
async fn a_subscription_that_is_read_misses_no_message_of_a_burst() {
    const COUNT: i64 = 200;
    let cloud = start_cloud().await;
    let mut device = logged_in_device(cloud.address).await;
    let taken = tokio::spawn(async move {
        for number in 0..COUNT {
            assert_eq!(device.message().await, Term::from(number));
            // Slower than they come.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    });
    for number in 0..COUNT {
        cloud.hub.publish(downstream(DEVICE), &Term::from(number)).await.unwrap();
    }
    within(taken).await.unwrap();
}
