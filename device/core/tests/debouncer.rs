//! The debouncing of network observations, in simulated time.
#![expect(clippy::unwrap_used, reason = "test helpers, which clippy does not recognize as tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use fedecks_device_core::Network::{Changed, Down, Up};
use fedecks_device_core::{
    DefaultRoute, Manager, Network, NetworkDebouncer, Observation, Routes, Time,
};
use proptest::prelude::*;

/// Reports with their times in milliseconds.
type Reports = Vec<(u64, Network)>;

#[derive(Default)]
struct Watch {
    debouncer: NetworkDebouncer,
    now: Time,
    /// The origin of the times of reports.
    start: Time,
    reports: Reports,
}

impl Watch {
    /// Some time after the report that a network is up.
    fn up(observation: Observation) -> Self {
        let mut it = Self::default();
        assert_eq!(it.run([(observation, 10_000)]), [(0, Up)]);
        it.start = it.now;
        it
    }

    /// Makes each observation and then lets some milliseconds pass. Returns the reports.
    fn run(&mut self, steps: impl IntoIterator<Item = (Observation, u64)>) -> Reports {
        for (observation, millis) in steps {
            let report = self.debouncer.handle_observation(self.now, observation);
            self.record(report);
            self.pass(millis);
        }
        std::mem::take(&mut self.reports)
    }

    /// Lets time pass and keeps every deadline.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.debouncer.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline in the past");
            self.now = at;
            let report = self.debouncer.handle_timeout(self.now);
            assert!(report.is_some(), "a deadline without a report");
            self.record(report);
        }
        self.now = end;
    }

    fn record(&mut self, report: Option<Network>) {
        let at = u64::try_from((self.now - self.start).as_millis()).unwrap();
        self.reports.extend(report.map(|report| (at, report)));
    }
}

fn manager(state: u32, primary: &str) -> Observation {
    by_manager(state, if state == 70 { 4 } else { 1 }, primary, false)
}

fn starting(state: u32) -> Observation {
    by_manager(state, 1, "/", true)
}

fn by_manager(state: u32, connectivity: u32, primary: &str, is_starting: bool) -> Observation {
    Observation::Manager(Manager { state, connectivity, primary: primary.into(), is_starting })
}

fn routes(links: &[u32]) -> Observation {
    let default = |&link| DefaultRoute { link, gateway: None, metric: 100 };
    let defaults: BTreeSet<_> = links.iter().map(default).collect();
    Observation::Routes(Routes { defaults, addresses: BTreeSet::new() })
}

#[test]
fn the_first_network_is_reported_immediately() {
    for network in [manager(70, "/1"), manager(60, "/"), manager(20, "/1"), routes(&[2])] {
        let mut it = Watch::default();
        assert_eq!(it.debouncer.is_up(), None);
        assert_eq!(it.run([(network, 100_000)]), [(0, Up)]);
        assert_eq!(it.debouncer.is_up(), Some(true));
    }
}

#[test]
fn a_missing_network_is_reported_once_after_a_second() {
    for none in [manager(20, "/"), manager(10, "/"), routes(&[])] {
        let mut it = Watch::default();
        assert_eq!(it.run(vec![(none, 100); 30]), [(1_000, Down)]);
        assert_eq!(it.debouncer.is_up(), Some(false));
    }
}

#[test]
fn a_network_that_is_back_is_reported_immediately() {
    let reports = Watch::up(manager(70, "/1")).run([
        (manager(20, "/"), 5_000),
        (manager(40, "/"), 300),
        (manager(60, "/2"), 20),
        (manager(70, "/2"), 60_000),
    ]);
    // The better connectivity is a change, which is not reported soon after the network.
    assert_eq!(reports, [(1_000, Down), (5_300, Up), (6_300, Changed)]);
}

#[test]
fn a_primary_connection_counts_more_than_the_state() {
    let reports = Watch::default().run([
        (manager(20, "/"), 2_000),
        (manager(40, "/"), 0),
        (manager(40, "/ActiveConnection/1"), 0),
    ]);
    assert_eq!(reports, [(1_000, Down), (2_000, Up)]);
}

#[test]
fn a_different_connection_or_route_is_a_change_after_50_ms() {
    let steps = [(manager(40, "/"), 20), (manager(70, "/2"), 10), (manager(70, "/3"), 60_000)];
    assert_eq!(Watch::up(manager(70, "/1")).run(steps), [(70, Changed)]);
    let steps = [(routes(&[2]), 2_000), (routes(&[2, 3]), 60_000)];
    assert_eq!(Watch::up(routes(&[2])).run(steps), [(2_050, Changed)]);
}

#[test]
fn a_gap_of_less_than_a_second_is_one_change() {
    for (up, down) in [(manager(70, "/1"), manager(20, "/")), (routes(&[2]), routes(&[]))] {
        let reports = Watch::up(up.clone()).run([(down, 999), (up, 60_000)]);
        assert_eq!(reports, [(1_049, Changed)]);
    }
}

#[test]
fn limited_connectivity_is_still_a_network() {
    let steps = [0, 1, 2, 3].map(|connectivity| (by_manager(60, connectivity, "/1", false), 5_000));
    let reports = Watch::default().run(steps).into_iter().map(|(_, report)| report);
    assert_eq!(reports.collect::<Vec<_>>(), [Up, Changed, Changed, Changed]);
}

#[test]
fn a_restart_of_the_manager_is_reported_only_without_a_network() {
    let mut it = Watch::up(manager(70, "/1"));
    assert_eq!(it.run([0, 10, 20, 40].map(|state| (starting(state), 20_000))), []);
    assert_eq!(it.run([(manager(70, "/1"), 20_000)]), []);
    let steps = [(starting(20), 5_000), (manager(20, "/"), 60_000)];
    assert_eq!(Watch::up(manager(70, "/1")).run(steps), [(6_000, Down)]);
}

#[test]
fn a_second_source_is_reported_only_without_a_network() {
    let mut it = Watch::up(routes(&[2]));
    assert_eq!(it.run([(manager(70, "/1"), 10_000), (routes(&[2]), 10_000)]), []);
    assert_eq!(it.run([(routes(&[3]), 10_000)]), [(20_050, Changed)]);
    let steps = [(manager(20, "/"), 10_000), (routes(&[2]), 0)];
    assert_eq!(Watch::up(routes(&[2])).run(steps), [(1_000, Down), (10_000, Up)]);
}

#[test]
fn a_flood_of_changes_is_one_report_a_second_without_delay() {
    for period in [1, 3, 7, 40, 400] {
        let turns = (0..10_000 / period).map(|turn| match turn % 3 {
            0 => (routes(&[]), period),
            1 => (routes(&[3]), period),
            _ => (routes(&[2]), period),
        });
        let reports = Watch::up(routes(&[2])).run(turns);
        assert!((6..=11).contains(&reports.len()), "{period}: {}", reports.len());
        assert!(reports.iter().all(|(_, report)| *report == Changed));
        assert!(reports[0].0 <= 50 + 3 * period, "{period}: {}", reports[0].0);
    }
}

#[test]
fn a_source_that_becomes_unavailable_voids_its_report() {
    let mut it = Watch::default();
    assert_eq!(it.run([(manager(20, "/"), 1_000)]), [(1_000, Down)]);
    assert_eq!(it.run([(Observation::Unavailable, 0)]), [(1_000, Changed)]);
    assert_eq!(it.debouncer.is_up(), None);
    assert_eq!(it.run([(Observation::Unavailable, 10_000)]), []);
    // As in the beginning.
    assert_eq!(it.run([(manager(70, "/1"), 0)]), [(11_000, Up)]);
    assert_eq!(it.run([(Observation::Unavailable, 10_000)]), []);
}

fn observation() -> impl Strategy<Value = Observation> {
    let state = prop::sample::select(vec![0, 10, 20, 30, 40, 50, 60, 70, 71, u32::MAX]);
    let primary = prop::sample::select(vec!["/", "", "/1", "/2"]);
    prop_oneof![
        (state, 0_u32..5, primary, any::<bool>()).prop_map(
            |(state, connectivity, primary, starting)| {
                by_manager(state, connectivity, primary, starting)
            }
        ),
        prop::collection::vec(0_u32..3, 0..3).prop_map(|links| routes(&links)),
    ]
}

proptest! {
    #[test]
    fn reports_make_sense_whatever_is_observed(
        steps in prop::collection::vec((observation(), prop_oneof![0_u64..20, 0_u64..3_000]), 0..200)
    ) {
        let mut it = Watch::default();
        let mut reports = it.run(steps);
        it.pass(5_000);
        reports.append(&mut it.reports);
        prop_assert_eq!(it.debouncer.poll_timeout(), None, "a deadline is left over");
        let mut before = None;
        for (at, report) in reports {
            match (before, report) {
                (None, Up | Down) | (Some((_, Down)), Up) => {}
                (None, Changed) => prop_assert!(false, "changed without a network"),
                (Some((_, Down)), Changed) => prop_assert!(false, "changed while down"),
                (Some((_, Up | Changed)), Up) => prop_assert!(false, "up twice"),
                (Some((_, Down)), Down) => prop_assert!(false, "down twice"),
                (Some((then, Up | Changed)), Changed | Down) => {
                    prop_assert!(at - then >= 1_000, "{:?} at {} after {}", report, at, then);
                }
            }
            before = Some((at, report));
        }
        prop_assert_eq!(it.debouncer.is_up(), before.map(|(_, report)| report != Down));
    }
}
