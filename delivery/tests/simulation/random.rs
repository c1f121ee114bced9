//! Random faults by seed, and tens of thousands of kills.

use fedecks_protocol::Lane;

use crate::parts::Action;
use crate::world::World;

/// One world: how many kills it had.
fn run(seed: u64) -> Result<u64, Vec<String>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(random.bool());
    let sets_back = random.u8(..4) == 0;
    let mut kills = 0;
    world.apply(Action::Connect);
    for _ in 0..600 {
        let session = random.usize(..2);
        let lane = if random.u8(..3) == 0 { Lane::Urgent } else { Lane::Normal };
        let action = match random.u16(..200) {
            0..30 => Action::Accept(lane),
            30..80 => Action::Transmit,
            80..115 => Action::Arrive(session),
            115..145 => Action::Store(session),
            145..160 => Action::Acknowledge(session),
            160..180 => Action::Answer,
            180..184 => Action::Connect,
            184 => Action::EndOlder,
            185 => Action::CutUp,
            186 => Action::CutDown,
            187..189 => Action::KillSender,
            189..191 => Action::KillReceiver,
            191 => Action::Expire(random.u64(..200)),
            192 => Action::Cancel(random.u64(..=world.messages())),
            193 => Action::DropOldest(lane),
            194 => Action::Rewind(session),
            195 => Action::BackUpSender,
            196 => Action::BackUpReceiver,
            197 if sets_back => Action::RestoreSender,
            198 if sets_back => Action::RestoreReceiver,
            199 if sets_back => Action::WipeReceiver,
            _ => Action::Connect,
        };
        world.apply(action);
        kills += u64::from(matches!(action, Action::KillSender | Action::KillReceiver));
    }
    world.finish();
    let failures = world.ledger.failures();
    if failures.is_empty() { Ok(kills) } else { Err(failures.to_vec()) }
}

#[test]
fn nothing_is_lost_doubled_or_reordered_however_often_an_end_is_killed() {
    let wanted = std::env::var("FEDECKS_KILLS").map_or(20_000, |kills| kills.parse().unwrap());
    let (mut kills, mut seed) = (0, 0);
    while kills < wanted {
        seed += 1;
        match run(seed) {
            Ok(more) => kills += more,
            Err(failures) => panic!("seed {seed}: {failures:#?}"),
        }
    }
    println!("{kills} kills in {seed} worlds");
}
