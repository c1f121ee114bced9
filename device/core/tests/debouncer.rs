//! What a network watch reports of what it sees, in simulated time.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not count as tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use fedecks_device_core::{
    DefaultRoute, Manager, Network, NetworkDebouncer, Observation, Routes, Time,
};
use proptest::prelude::*;

/// A judge, a clock, and all that was reported.
#[derive(Default)]
struct Desk {
    judge: NetworkDebouncer,
    now: Time,
    reports: Vec<(u64, Network)>,
}

impl Desk {
    /// It has reported that there is a network, `sight`, and some time has gone by.
    fn up(sight: Observation) -> Self {
        let mut it = Self::default();
        it.sees(sight);
        assert_eq!(it.reports, [(0, Network::Up)]);
        it.pass(10_000);
        it.reports.clear();
        it
    }

    fn sees(&mut self, sight: Observation) {
        let report = self.judge.handle_observation(self.now, sight);
        self.note(report);
    }

    /// Milliseconds go by, and every deadline on the way is kept.
    fn pass(&mut self, millis: u64) {
        let end = self.now + ms(millis);
        while let Some(at) = self.judge.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline in the past");
            self.now = at;
            let report = self.judge.handle_timeout(self.now);
            assert!(report.is_some(), "a deadline without a meaning");
            self.note(report);
        }
        self.now = end;
    }

    fn note(&mut self, report: Option<Network>) {
        let at = u64::try_from(self.now.since_start().as_millis()).unwrap();
        self.reports.extend(report.map(|report| (at, report)));
    }

    /// What was reported since the last call, and how long after `since`.
    #[track_caller]
    fn expect(&mut self, since: Time, wanted: &[(u64, Network)]) {
        let start = u64::try_from(since.since_start().as_millis()).unwrap();
        let reports: Vec<_> = self.reports.drain(..).map(|(at, it)| (at - start, it)).collect();
        assert_eq!(reports, wanted);
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn manager(state: u32, primary: &str) -> Observation {
    let connectivity = if state == 70 { 4 } else { 1 };
    Observation::Manager(Manager {
        state,
        connectivity,
        primary: primary.into(),
        is_starting: false,
    })
}

fn starting(state: u32) -> Observation {
    let primary = "/".into();
    Observation::Manager(Manager { state, connectivity: 1, primary, is_starting: true })
}

fn routes(links: &[u32]) -> Observation {
    let default = |&link| DefaultRoute { link, gateway: None, metric: 100 };
    let defaults: BTreeSet<_> = links.iter().map(default).collect();
    Observation::Routes(Routes { defaults, addresses: BTreeSet::new() })
}

#[test]
fn the_first_sight_of_a_network_is_reported_at_once() {
    for sight in [manager(70, "/1"), manager(60, "/"), manager(20, "/1"), routes(&[2])] {
        let mut it = Desk::default();
        assert_eq!(it.judge.is_up(), None);
        it.sees(sight);
        it.expect(Time::default(), &[(0, Network::Up)]);
        assert_eq!(it.judge.is_up(), Some(true));
        it.pass(100_000);
        assert!(it.reports.is_empty());
    }
}

#[test]
fn no_network_is_reported_when_it_has_been_so_for_a_second_and_once() {
    for sight in [manager(20, "/"), manager(10, "/"), routes(&[])] {
        let mut it = Desk::default();
        for _ in 0..30 {
            it.sees(sight.clone());
            it.pass(100);
        }
        it.expect(Time::default(), &[(1_000, Network::Down)]);
        assert_eq!(it.judge.is_up(), Some(false));
    }
}

#[test]
fn a_network_that_is_back_is_reported_at_once() {
    let mut it = Desk::up(manager(70, "/1"));
    let start = it.now;
    for (state, after) in [(20, 5_000), (40, 300), (60, 20), (70, 60_000)] {
        it.sees(manager(state, if state >= 60 { "/2" } else { "/" }));
        it.pass(after);
    }
    // The connectivity came after the report; it is a change, but not soon after.
    let up = 5_300;
    it.expect(start, &[(1_000, Network::Down), (up, Network::Up), (up + 1_000, Network::Changed)]);
}

#[test]
fn the_primary_connection_counts_before_the_state_does() {
    let mut it = Desk::default();
    it.sees(manager(20, "/"));
    it.pass(2_000);
    it.sees(manager(40, "/"));
    it.sees(manager(40, "/ActiveConnection/1"));
    it.expect(Time::default(), &[(1_000, Network::Down), (2_000, Network::Up)]);
}

#[test]
fn another_primary_connection_is_a_change_of_50_ms() {
    let mut it = Desk::up(manager(70, "/1"));
    let start = it.now;
    it.sees(manager(40, "/"));
    it.pass(20);
    it.sees(manager(70, "/2"));
    it.pass(10);
    it.sees(manager(70, "/3"));
    it.pass(60_000);
    it.expect(start, &[(70, Network::Changed)]);
}

#[test]
fn other_default_routes_are_a_change_and_the_same_ones_are_none() {
    let mut it = Desk::up(routes(&[2]));
    let start = it.now;
    it.sees(routes(&[2]));
    it.pass(2_000);
    it.sees(routes(&[2, 3]));
    it.pass(60_000);
    it.expect(start, &[(2_050, Network::Changed)]);
}

#[test]
fn a_gap_of_less_than_a_second_is_one_change() {
    for (up, down) in [(manager(70, "/1"), manager(20, "/")), (routes(&[2]), routes(&[]))] {
        let mut it = Desk::up(up.clone());
        let start = it.now;
        it.sees(down);
        it.pass(999);
        it.sees(up);
        it.pass(60_000);
        it.expect(start, &[(1_049, Network::Changed)]);
    }
}

#[test]
fn less_connectivity_takes_no_network_away() {
    let mut it = Desk::default();
    for connectivity in [0, 1, 2, 3] {
        let primary = "/1".into();
        let seen = Manager { state: 60, connectivity, primary, is_starting: false };
        it.sees(Observation::Manager(seen));
        it.pass(5_000);
    }
    let reports: Vec<_> = it.reports.into_iter().map(|(_, report)| report).collect();
    assert_eq!(reports, [Network::Up, Network::Changed, Network::Changed, Network::Changed]);
}

#[test]
fn a_manager_that_starts_anew_takes_no_network_away() {
    let mut it = Desk::up(manager(70, "/1"));
    let start = it.now;
    for state in [0, 10, 20, 40] {
        it.sees(starting(state));
        it.pass(20_000);
    }
    it.expect(start, &[]);
    it.sees(manager(70, "/1"));
    it.pass(20_000);
    it.expect(start, &[]);
}

#[test]
fn a_manager_that_finds_nothing_after_its_start_is_believed() {
    let mut it = Desk::up(manager(70, "/1"));
    let start = it.now;
    it.sees(starting(20));
    it.pass(5_000);
    it.sees(manager(20, "/"));
    it.pass(60_000);
    it.expect(start, &[(6_000, Network::Down)]);
}

#[test]
fn another_source_that_sees_a_network_as_well_reports_nothing() {
    let mut it = Desk::up(routes(&[2]));
    let start = it.now;
    it.sees(manager(70, "/1"));
    it.pass(10_000);
    it.sees(routes(&[2]));
    it.pass(10_000);
    it.expect(start, &[]);
    it.sees(routes(&[3]));
    it.pass(10_000);
    it.expect(start, &[(20_050, Network::Changed)]);
}

#[test]
fn another_source_that_sees_none_is_believed_after_a_second() {
    let mut it = Desk::up(routes(&[2]));
    let start = it.now;
    it.sees(manager(20, "/"));
    it.pass(10_000);
    it.sees(routes(&[2]));
    it.expect(start, &[(1_000, Network::Down), (10_000, Network::Up)]);
}

#[test]
fn a_flood_is_one_report_a_second_and_holds_none_back() {
    for period in [1, 3, 7, 40, 400] {
        let mut it = Desk::up(routes(&[2]));
        let start = it.now;
        for turn in 0..(10_000 / period) {
            it.sees(match turn % 3 {
                0 => routes(&[]),
                1 => routes(&[3]),
                _ => routes(&[2]),
            });
            it.pass(period);
        }
        let changes = it.reports.len();
        assert!((6..=11).contains(&changes), "{period}: {changes}");
        assert!(it.reports.iter().all(|(_, report)| *report == Network::Changed));
        let first = it.reports[0].0 - u64::try_from(start.since_start().as_millis()).unwrap();
        assert!(first <= 50 + 3 * period, "{period}: {first}");
    }
}

fn sight() -> impl Strategy<Value = Observation> {
    let state = prop::sample::select(vec![0, 10, 20, 30, 40, 50, 60, 70, 71, u32::MAX]);
    let primary = prop::sample::select(vec!["/", "", "/1", "/2"]);
    let by_manager = (state, 0_u32..5, primary, any::<bool>()).prop_map(
        |(state, connectivity, primary, is_starting)| {
            Observation::Manager(Manager {
                state,
                connectivity,
                primary: primary.into(),
                is_starting,
            })
        },
    );
    let by_kernel = prop::collection::vec(0_u32..3, 0..3).prop_map(|links| routes(&links));
    prop_oneof![by_manager, by_kernel]
}

#[test]
fn a_source_that_goes_takes_its_word_that_there_is_no_network_with_it() {
    let mut it = Desk::default();
    it.sees(manager(20, "/"));
    it.pass(1_000);
    assert_eq!(it.reports, [(1_000, Network::Down)]);
    it.reports.clear();
    let gone = it.now;
    it.sees(Observation::Nothing);
    it.expect(gone, &[(0, Network::Changed)]);
    assert_eq!(it.judge.is_up(), None);
    it.sees(Observation::Nothing);
    it.pass(10_000);
    it.expect(gone, &[]);
    // It is heard again as at the beginning.
    it.sees(manager(70, "/1"));
    it.expect(gone, &[(10_000, Network::Up)]);

    let gone = it.now;
    it.sees(Observation::Nothing);
    it.pass(10_000);
    it.expect(gone, &[]);
}

proptest! {
    #[test]
    fn reports_make_sense_whatever_is_seen(
        steps in prop::collection::vec((sight(), prop_oneof![0_u64..20, 0_u64..3_000]), 0..200)
    ) {
        let mut it = Desk::default();
        for (sight, millis) in steps {
            it.sees(sight);
            it.pass(millis);
        }
        it.pass(5_000);
        prop_assert_eq!(it.judge.poll_timeout(), None, "something is left over");
        let mut before = None;
        for (at, report) in it.reports {
            match (before, report) {
                (None, Network::Up | Network::Down) => {}
                (None, Network::Changed) => prop_assert!(false, "a change of nothing"),
                (Some((_, Network::Down)), Network::Changed) => prop_assert!(false, "a change of none"),
                (Some((_, Network::Up | Network::Changed)), Network::Up) => prop_assert!(false, "up twice"),
                (Some((_, Network::Down)), Network::Down) => prop_assert!(false, "down twice"),
                (Some((_, Network::Down)), Network::Up) => {}
                (Some((then, Network::Up | Network::Changed)), Network::Changed) => {
                    prop_assert!(at - then >= 1_000, "changes at {} and {}", then, at);
                }
                (Some((then, Network::Up | Network::Changed)), Network::Down) => {
                    prop_assert!(at - then >= 1_000, "down at {} after {}", at, then);
                }
            }
            before = Some((at, report));
        }
        prop_assert_eq!(it.judge.is_up(), before.map(|(_, report)| report != Network::Down));
    }
}
