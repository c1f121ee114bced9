//! What else both ends promise together when things go wrong between them.

use std::time::Duration;

use fedecks_device::{Event, LostReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{BY_CREDENTIALS, BY_TOKEN, Cloud, Device, folder};

/// Something that is no cloud: answers every request with this and closes.
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
async fn a_portal_or_a_proxy_in_the_clouds_place_costs_the_device_no_token() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nLogin",
        "HTTP/1.1 302 Found\r\nlocation: http://portal.example/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\nDenied",
    ];
    let mut cloud = Cloud::start().await;
    let data = folder();
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    assert_eq!(cloud.next_connection().await, BY_CREDENTIALS);
    for answer in answers {
        let address = cloud.stop().await;
        device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
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
        cloud = Cloud::start_at(address).await;
        assert_eq!(cloud.next_connection().await, BY_TOKEN, "after {answer:?}");
        device.until(|event| *event == Event::Connected).await;
    }
}

#[tokio::test]
async fn of_two_devices_with_one_id_the_older_stays_away_for_the_longest_wait() {
    let cloud = Cloud::start().await;
    let (data, twin_data) = (folder(), folder());
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    let mut twin = Device::logged_in(cloud.address, twin_data.path()).await;

    let lost = device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    let Event::ConnectionLost { reason: LostReason::Closed(close) } = lost else {
        panic!("lost by {lost:?}");
    };
    assert_eq!(close.code.code(), 4409);
    device.until(|event| *event == Event::Replaced).await;
    let scheduled = device.until(|event| matches!(event, Event::ConnectionScheduled { .. })).await;
    let Event::ConnectionScheduled { delay } = scheduled else { unreachable!() };
    // Half of the cap that these devices are given, which is 500 ms, is the least.
    assert!(delay >= Duration::from_millis(250), "{delay:?}");
    // It comes back then and takes the twin's place: both go on, neither in a tight loop.
    twin.until(|event| *event == Event::Replaced).await;
}

#[tokio::test]
async fn a_burst_of_messages_is_lost_to_no_subscription_that_is_read() {
    const COUNT: i64 = 200;
    let cloud = Cloud::start().await;
    let data = folder();
    let mut device = Device::logged_in(cloud.address, data.path()).await;
    let taken = tokio::spawn(async move {
        let mut numbers = Vec::new();
        while numbers.len() < usize::try_from(COUNT).unwrap() {
            match device.events.next().await {
                Ok(Event::Message(term)) => numbers.push(term.deserialize::<i64>().unwrap()),
                Ok(_) => {}
                Err(error) => panic!("{error} after {} messages", numbers.len()),
            }
            // Slower than they come.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        numbers
    });
    for number in 0..COUNT {
        let topic = crate::support::downstream(crate::support::DEVICE);
        cloud.hub.publish(topic, fedecks_device::Term::from(number)).await.unwrap();
    }
    let numbers = tokio::time::timeout(crate::support::PATIENCE, taken).await.unwrap().unwrap();
    assert!(numbers.into_iter().eq(0..COUNT));
}
