//! What a node may do that cannot renew its lease.

use std::time::Duration;

use fedecks_cluster::lease::{Call, LeaseTimes, OwnLease, Standing};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1_000_000 + seconds)
}

/// With a lease whose call began at 0 and was answered at 1.
fn serving() -> OwnLease {
    let mut lease = OwnLease::new(LeaseTimes::default(), at(0));
    assert_eq!(lease.standing(at(0)), Standing::Waits);
    assert_eq!(lease.next_call(), Some((at(0), Call::Begin)));
    lease.on_calling(at(0));
    assert_eq!(lease.next_call(), None);
    lease.on_begun(7, false);
    lease
}

fn fails(lease: &mut OwnLease, began: Duration) {
    lease.on_calling(began);
    lease.on_failed(began + Duration::from_secs(4));
}

#[test]
fn a_node_writes_for_a_while_after_it_began_to_renew() {
    let mut lease = serving();
    assert_eq!(lease.next_call(), Some((at(5), Call::Renew { epoch: 7 })));
    assert_eq!(lease.standing(at(9)), Standing::Serves { epoch: 7 });
    assert_eq!(lease.changes_at(at(9)), Some(at(10)));
    assert_eq!(lease.standing(at(10)), Standing::CutOff);
    assert_eq!(lease.changes_at(at(10)), None);
    lease.on_calling(at(6));
    // A late answer counts from when the call began.
    lease.on_renewed(true, true);
    assert_eq!(lease.standing(at(15)), Standing::Serves { epoch: 7 });
    assert!(lease.may_declare(at(15)) && lease.leads(at(15)));
    assert_eq!(lease.standing(at(16)), Standing::CutOff);
    assert!(!lease.may_declare(at(16)) && !lease.leads(at(16)));
}

#[test]
fn a_call_without_an_answer_is_repeated_soon() {
    let mut lease = serving();
    lease.on_calling(at(5));
    lease.on_failed(at(5));
    assert_eq!(lease.next_call(), Some((at(6), Call::Renew { epoch: 7 })));
    fails(&mut lease, at(6));
    assert_eq!(lease.next_call(), Some((at(10), Call::Renew { epoch: 7 })));
    lease.on_calling(at(10));
    lease.on_lost(at(11));
    assert_eq!(lease.standing(at(11)), Standing::Waits);
    assert_eq!(lease.next_call(), Some((at(11), Call::Begin)));
    lease.on_calling(at(11));
    lease.on_held();
    assert_eq!(lease.next_call(), Some((at(16), Call::Begin)));
}

#[test]
fn a_node_goes_on_while_no_one_can_renew() {
    let mut lease = serving();
    for second in (5..600).step_by(5) {
        fails(&mut lease, at(second));
    }
    assert_eq!(lease.standing(at(600)), Standing::CutOff);
}

#[test]
fn a_node_gives_its_sessions_up_while_others_renew() {
    let mut lease = serving();
    // While it renews itself, that means nothing.
    lease.on_other_renewed(at(9));
    assert_eq!(lease.standing(at(12)), Standing::CutOff);
    for second in (12..72).step_by(5) {
        lease.on_other_renewed(at(second));
        assert_eq!(lease.standing(at(second)), Standing::Isolated);
        assert!(lease.changes_at(at(second)).is_some_and(|change| change <= at(second + 15)));
    }
    assert_eq!(lease.changes_at(at(67)), Some(at(72)));
    assert_eq!(lease.standing(at(72)), Standing::Drains);
    // No more news: the others may be gone, too.
    assert_eq!(lease.standing(at(82)), Standing::CutOff);
    lease.on_other_renewed(at(90));
    assert_eq!(lease.standing(at(149)), Standing::CutOff);
    lease.on_other_renewed(at(150));
    assert_eq!(lease.standing(at(150)), Standing::Isolated);
    lease.on_calling(at(151));
    lease.on_renewed(false, false);
    assert_eq!(lease.standing(at(160)), Standing::Serves { epoch: 7 });
    assert_eq!(lease.standing(at(161)), Standing::CutOff);
}
