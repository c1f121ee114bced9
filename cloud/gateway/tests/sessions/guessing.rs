//! What guessing costs the one who guesses, and the others, over hours of a paused clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use fedecks_cloud::auth::FailedLogins;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

/// An address, by its number.
fn address(number: u32) -> Option<IpAddr> {
    Some(IpAddr::from((0x0a00_0000 + number).to_be_bytes()))
}

/// Logs in to the account with a wrong password or the right one; how long to wait, if it is refused.
fn login(logins: &FailedLogins, from: u32, right: bool) -> Result<(), Duration> {
    let attempt = logins.attempt(address(from), Some("marvin"));
    let attempt = attempt.map_err(|refused| refused.retry_after)?;
    if right {
        attempt.succeeded()
    } else {
        attempt.failed()
    }
    Ok(())
}

/// How long a new address takes until it is in.
async fn time_to_log_in(logins: &FailedLogins, from: u32) -> Duration {
    let start = Instant::now();
    while let Err(wait) = login(logins, from, true) {
        tokio::time::advance(wait).await;
        assert!(start.elapsed() < 24 * HOUR, "{from} never gets in");
    }
    start.elapsed()
}

/// Lets addresses guess for a while, each as often as it is allowed to. The number of guesses.
async fn attack(logins: &FailedLogins, addresses: u32, lasting: Duration) -> u32 {
    let (start, mut guesses) = (Instant::now(), 0);
    let mut turns: BinaryHeap<_> = (0..addresses).map(|from| Reverse((start, from))).collect();
    while let Some(Reverse((at, from))) = turns.pop() {
        if at >= start + lasting {
            break;
        }
        tokio::time::advance(at.saturating_duration_since(Instant::now())).await;
        let wait = login(logins, from, false).err().unwrap_or_default();
        guesses += u32::from(wait.is_zero());
        turns.push(Reverse((Instant::now() + wait, from)));
    }
    guesses
}

#[tokio::test(start_paused = true)]
async fn one_address_never_delays_a_new_one() {
    let logins = FailedLogins::default();
    let at_once: Vec<_> =
        (0..250).map(|_| logins.attempt(address(0), Some("marvin")).unwrap()).collect();
    at_once.into_iter().for_each(|attempt| attempt.failed());
    for hour in 1..=48 {
        assert_eq!(time_to_log_in(&logins, hour).await, Duration::ZERO, "in hour {hour}");
        attack(&logins, 1, HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_address_gets_in_while_10_000_guess() {
    let logins = FailedLogins::default();
    let guesses = attack(&logins, 10_000, HOUR).await;
    assert!((10_000..=15_700).contains(&guesses), "{guesses} in the first hour");
    for new in 0..3 {
        let took = time_to_log_in(&logins, 20_000 + new).await;
        assert!(took <= Duration::from_secs(2), "{took:?}");
        let guesses = attack(&logins, 10_000, HOUR / 6).await;
        assert!((190..=210).contains(&guesses), "{guesses} in 10 minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_address_waits_for_the_new_ones_before_it_only() {
    let logins = FailedLogins::default();
    attack(&logins, 10, HOUR / 60).await;
    let refused = (100..10_100).filter(|from| login(&logins, *from, false).is_err()).count();
    assert_eq!(refused, 9_999, "they have their places, and one its turn");
    let took = time_to_log_in(&logins, 20_000).await;
    assert!((2_499..=2_501).contains(&took.as_secs()), "{took:?}");
}
