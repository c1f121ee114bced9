//! Devices: those that come, go and move between servers, and those that are revoked.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use fedecks_protocol::{Capabilities, DownFrame, Proof, UpFrame};
use fedecks_testing::fleet_history::FleetEntry;
use fedecks_testing::raw_device::fresh_token;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::session::{PATIENCE, Session, dial, hear, hear_or_end, tell};
use crate::world::{Device, LANES, World};

/// How often a session is asked for a sign of life.
const ASK: Duration = Duration::from_millis(400);

/// The same for devices that never leave, and how long they wait for it.
const STEADY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

/// Longer than any trial.
const ALWAYS: Duration = Duration::from_secs(24 * 3600);

/// How long a session that is superseded is watched.
const WATCHED: Duration = Duration::from_secs(25);

/// Comes, goes and moves until the trial is over.
pub(crate) async fn live(device: Rc<Device>, world: Rc<World>, mut random: Rng) {
    let mut node = device.number % world.nodes.len();
    let mut failures = 0_u32;
    let mut away = None;
    loop {
        let token = fresh_token(&device.id);
        let session = match dial(&world, node, &device.id, token).await {
            Some(raw) => Session::open(raw, &device, &world, node).await,
            None => None,
        };
        let Some(mut session) = session else {
            node = (node + 1) % world.nodes.len();
            failures += 1;
            // As devices do, though not for as long.
            let most = (100_u64 << failures.min(5)).min(2_000);
            sleep(Duration::from_millis(random.u64(50..most))).await;
            continue;
        };
        failures = 0;
        device.is_connected.set(true);
        if let Some(lasted) = away.take().map(|since: Instant| since.elapsed()) {
            world.history.add(FleetEntry::Back { device: device.number, away: lasted });
        }
        let stay = Duration::from_millis(random.u64(2_000..20_000));
        let stay = if world.is_steady { ALWAYS } else { stay };
        let stayed = stays(&mut session, stay, &mut random).await;
        device.is_connected.set(false);
        if let Err(wait) = stayed {
            let pause = Duration::from_millis(random.u64(50..1_000));
            if world.is_steady {
                away = Some(Instant::now());
                node = (node + 1) % world.nodes.len();
                drop(session);
                sleep(wait.unwrap_or(pause)).await;
            } else {
                sleep(pause).await;
            }
            continue;
        }
        match random.u8(..4) {
            0 => drop(timeout(PATIENCE, session.raw.ws.close(None)).await),
            // It is reset, since frames wait to be read.
            1 => drop(session),
            // It stays, and the device opens a newer one.
            _ => {
                session.is_newest = false;
                tokio::task::spawn_local(is_watched(session));
            }
        }
        node = random.usize(..world.nodes.len());
    }
}

/// Sends and takes messages for this time, or longer from when the trial is calm. An error if the connection has ended:
/// for how long the device is asked to stay away.
async fn stays(
    session: &mut Session,
    stay: Duration,
    random: &mut Rng,
) -> Result<(), Option<Duration>> {
    let device = Rc::clone(&session.device);
    let world = session.world();
    let (interval, patience) = if world.is_steady { STEADY } else { (ASK, PATIENCE) };
    let leave = Instant::now() + stay;
    let mut heard = Instant::now();
    let first = world.pause(Duration::from_millis(random.u64(..2_000)));
    let mut ask = heard;
    let mut make = if world.is_steady { heard + first } else { heard };
    loop {
        let now = Instant::now();
        if now >= leave && !world.is_calm.get() {
            return Ok(());
        }
        if now > heard + patience {
            return Err(None);
        }
        if now >= ask {
            ask = now + interval;
            session.ask().await.ok_or(None)?;
        }
        if now >= make {
            make = now + world.pause(Duration::from_millis(random.u64(400..2_000)));
            if !world.is_over.get() {
                device.make(random.usize(..LANES.len()), &world.history);
                session.send_kept().await.ok_or(None)?;
            }
        }
        match timeout_at(ask.min(make), hear_or_end(&mut session.raw)).await {
            Ok(frame) => {
                heard = Instant::now();
                session.on(frame?).await.ok_or(None)?;
            }
            Err(_) => continue,
        }
    }
}

/// Tries to send the device's newest messages on a session which the device has left open, until that ends.
async fn is_watched(mut session: Session) {
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        let asked = async {
            session.ask().await?;
            session.send_kept().await
        };
        if asked.await.is_none() {
            return;
        }
        let pause = Instant::now() + ASK;
        while let Ok(frame) = timeout_at(pause, hear(&mut session.raw)).await {
            let Some(frame) = frame else { return };
            if session.on(frame).await.is_none() {
                return;
            }
        }
    }
}

/// A device that will be revoked. It keeps its first token.
pub(crate) struct Doomed {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) is_revoked: Cell<bool>,
}

/// Stays connected until it is revoked, and then tries all servers again and again.
pub(crate) async fn live_doomed(doomed: Rc<Doomed>, world: Rc<World>) {
    let Proof::Token(token) = fresh_token(&doomed.id) else { return };
    let mut node = doomed.number % world.nodes.len();
    loop {
        let asked = world.history.now();
        let dialled = dial(&world, node, &doomed.id, Proof::Token(token.clone())).await;
        if let Some(mut raw) = dialled {
            let _ = tell(&mut raw, &UpFrame::Hello(Capabilities::KEEP_ALIVE)).await;
            let device = doomed.number;
            world.history.add(FleetEntry::Serves { node, device, asked });
            let mut number = 0;
            loop {
                number += 1;
                let asked = world.history.now();
                let answered = async {
                    tell(&mut raw, &UpFrame::KeepAlive(number)).await?;
                    while hear(&mut raw).await? != DownFrame::Alive(number) {}
                    Some(())
                };
                if timeout(PATIENCE, answered).await.ok().flatten().is_none() {
                    break;
                }
                world.history.add(FleetEntry::Serves { node, device, asked });
                sleep(Duration::from_millis(200)).await;
            }
        }
        node = (node + 1) % world.nodes.len();
        let pause = if doomed.is_revoked.get() { 150 } else { 50 };
        sleep_until(Instant::now() + Duration::from_millis(pause)).await;
    }
}
