//! What guessing costs whom, over hours of a paused clock.

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
    attack(&logins, 10_000, HOUR).await;
    for new in 0..10 {
        let took = time_to_log_in(&logins, 20_000 + new).await;
        assert!(took <= Duration::from_secs(60), "{took:?}");
        attack(&logins, 10_000, HOUR / 60).await;
    }
}
