//! The state machine of leases that change hands.

use super::tests::*;
use super::*;

fn adopted(last_heartbeat: Option<&str>) -> LeaseMachine {
    let mut lease = LeaseMachine::adopted(s(7), last_heartbeat.map(str::to_owned));
    let request = lease.next(s(7), LeaseEvent::Tick).heartbeat.unwrap();
    assert_eq!((request.expected.as_deref(), request.until), (last_heartbeat, s(17)));
    lease
}

fn accepted(last: &str, extended: bool, state: &str) -> HeartbeatResult {
    HeartbeatResult::Accepted { last_heartbeat: last.into(), extended, state: state.into(), ttl: s(60) }
}

#[test]
fn what_the_first_heartbeat_of_an_adopted_lease_leads_to() {
    use LeaseState::*;
    let (taken, stopping) = (Lost(Reason::Taken), StopRequested(Reason::StopRequested));
    for (handed_over, result, state, end, stops) in [
        (Some("t1"), extended("t2", 60), Held, None, false),
        (None, extended("t1", 60), Held, None, false),
        // Stale: queued again, or another process's.
        (Some("t1"), refused("queued", None), taken, Some(LeaseEnd::Lost), false),
        (Some("t1"), refused("active", Some("t2")), taken, Some(LeaseEnd::Lost), false),
        (None, refused("active", Some("t1")), taken, Some(LeaseEnd::Lost), false),
        // It ran out, and no process claimed it again.
        (Some("t1"), accepted("t1", false, "stopped"), stopping, None, true),
        (Some("t1"), accepted("t9", false, "stopped"), stopping, None, true),
        (None, accepted("", false, "stopping"), stopping, None, true),
        (Some("t1"), accepted("t1", false, "stopping"), stopping, None, true),
        (Some("t1"), accepted("t2", false, "active"), StopRequested(Reason::NotExtended), None, true),
        // Stopping, but under another process, which has to wind down.
        (Some("t1"), accepted("t2", false, "stopping"), Lost(Reason::StopRequested), Some(LeaseEnd::Lost), false),
        (None, accepted("t1", false, "stopping"), Lost(Reason::StopRequested), Some(LeaseEnd::Lost), false),
        // Refused: whose the item is, is unknown.
        (Some("t1"), HeartbeatResult::Rejected, Unconfirmed, Some(LeaseEnd::Rejected), false),
        (None, HeartbeatResult::Rejected, Unconfirmed, Some(LeaseEnd::Rejected), false),
        (None, accepted("t1", false, "active"), Unconfirmed, Some(LeaseEnd::Rejected), false),
        (Some("t1"), LOST_REPLY, Unconfirmed, None, false),
        (Some("t1"), NO_CONNECTION, Unconfirmed, None, false),
    ] {
        let mut lease = adopted(handed_over);
        let actions = lease.next(s(8), heartbeat(s(7), result.clone()));
        let label = format!("{handed_over:?} {result:?}");
        assert_eq!((lease.state(), actions.end, actions.stop.is_some()), (state, end, stops), "{label}");
        assert_eq!(actions.heartbeat, None, "{label}");
    }
}

#[test]
fn a_refusal_is_never_attributed_to_the_adopters_own_heartbeat() {
    for handed_over in [Some("t1"), None] {
        let mut lease = adopted(handed_over);
        let again = lease.next(s(8), heartbeat(s(7), LOST_REPLY)).wake_at.unwrap();
        assert_eq!(lease.next(again, LeaseEvent::Tick).heartbeat.unwrap().expected.as_deref(), handed_over);
        let actions = lease.next(s(9), heartbeat(again, refused("active", Some("t2"))));
        assert_eq!((lease.state(), actions.end), (LeaseState::Lost(Reason::Taken), Some(LeaseEnd::Lost)));
    }
}

#[test]
fn an_adoption_without_an_answer_ends_and_stops_nothing() {
    let (mut lease, mut now) = (adopted(Some("t1")), s(7));
    let mut actions = lease.next(now, heartbeat(now, LOST_REPLY));
    while actions.end.is_none() {
        now = actions.wake_at.unwrap();
        actions = lease.next(now, LeaseEvent::Tick);
        if actions.heartbeat.is_some() {
            actions = lease.next(now, heartbeat(now, NO_CONNECTION));
        }
        assert_eq!(actions.stop, None);
    }
    assert_eq!((now, actions.end), (s(17), Some(LeaseEnd::Lost)));
}

#[test]
fn a_first_heartbeat_that_is_answered_when_its_lease_may_have_expired_confirms_nothing() {
    let mut lease = adopted(Some("t1"));
    assert_eq!(lease.next(s(10), heartbeat(s(7), extended("t2", 2))).end, Some(LeaseEnd::Lost));
    let mut lease = LeaseMachine::new(s(0), s(0), false);
    lease.next(s(0), LeaseEvent::Tick);
    assert_eq!(lease.next(s(3), heartbeat(s(0), extended("t1", 2))).end, Some(LeaseEnd::Unconfirmed));
}

#[test]
fn an_adopted_lease_is_kept_and_lost_as_any_other() {
    let mut lease = adopted(Some("t1"));
    let due = lease.next(s(8), heartbeat(s(7), extended("t2", 60))).wake_at.unwrap();
    assert_eq!((due, lease.next(due, LeaseEvent::Tick).heartbeat.unwrap().expected.as_deref()), (s(37), Some("t2")));
    let mut finishing = lease.clone();
    assert!(finishing.next(s(40), FINISH).stop.is_some());
    lease.next(s(62), LeaseEvent::Tick);
    assert_eq!(lease.state(), LeaseState::Lost(Reason::Expired));
}

#[test]
fn releasing_waits_until_the_last_heartbeat_is_known() {
    let released = Actions { end: Some(LeaseEnd::Released), ..Actions::default() };
    assert_eq!(held(60).next(s(1), LeaseEvent::Release), released);
    // The heartbeat is due, but not sent any more.
    assert_eq!(held(60).next(s(31), LeaseEvent::Release), released);

    let (mut lease, sent) = renewing(60);
    assert_eq!(lease.next(sent, LeaseEvent::Release).end, None);
    let mut unknown = lease.clone();
    assert_eq!(lease.next(sent + ms(9), heartbeat(sent, extended("t2", 60))), released);
    assert_eq!(lease.last_heartbeat(), Some("t2"));

    // Its response is lost, and the next one shows what was recorded.
    let again = unknown.next(sent + ms(9), heartbeat(sent, LOST_REPLY)).wake_at.unwrap();
    assert_eq!(unknown.next(again, LeaseEvent::Tick).heartbeat.unwrap().expected.as_deref(), Some("t1"));
    let mut lost = unknown.clone();
    let actions = unknown.next(again + ms(1), heartbeat(again, refused("active", Some("t2"))));
    assert_eq!((actions.end, actions.heartbeat.unwrap().expected.as_deref()), (None, Some("t2")));
    assert_eq!(unknown.next(again + ms(2), heartbeat(again + ms(1), extended("t3", 60))), released);

    assert_eq!(lost.next(s(55), LeaseEvent::Tick).end, Some(LeaseEnd::Lost), "there is no holder that would finish it");
    let (mut lease, sent) = renewing(60);
    lease.next(sent, LeaseEvent::Release);
    assert_eq!(lease.next(sent, heartbeat(sent, NO_CONNECTION)), released, "it was not recorded");
}

#[test]
fn what_is_stopped_or_lost_is_not_handed_over_as_held() {
    let (mut lease, sent) = renewing(60);
    lease.next(sent, heartbeat(sent, refused("active", Some("other"))));
    assert_eq!(lease.next(sent, LeaseEvent::Release).end, Some(LeaseEnd::Lost));
    // The next holder learns from its first heartbeat that the item is stopping.
    let (mut lease, sent) = renewing(60);
    lease.next(sent, heartbeat(sent, accepted("t1", false, "stopping")));
    assert_eq!(lease.next(sent, LeaseEvent::Release).end, Some(LeaseEnd::Released));
    // The grace period expires while the last heartbeat is unknown.
    let (mut lease, sent) = renewing(60);
    lease.next(sent, LeaseEvent::Release);
    assert!(lease.next(sent, LeaseEvent::GraceExpired).stop.is_some());
    assert_eq!(lease.next(sent, stopped(StopResult::Done)).end, Some(LeaseEnd::Stopped));
}

#[test]
fn what_the_events_of_a_claimed_item_lead_to() {
    let claimed = || {
        let mut lease = LeaseMachine::claim_only(s(30));
        assert_eq!(lease.next(s(0), LeaseEvent::Tick), Actions { wake_at: Some(s(30)), ..Actions::default() });
        assert_eq!((lease.state(), lease.last_heartbeat()), (LeaseState::Claimed, None));
        lease
    };
    for (now, event, state, end, stop) in [
        (s(29), LeaseEvent::Tick, LeaseState::Claimed, None, None),
        (s(30), LeaseEvent::Tick, LeaseState::Lost(Reason::Expired), None, None),
        (s(29), LeaseEvent::Release, LeaseState::Claimed, Some(LeaseEnd::Released), None),
        (s(30), LeaseEvent::Release, LeaseState::Lost(Reason::Expired), Some(LeaseEnd::Lost), None),
        (s(29), LeaseEvent::Abandon, LeaseState::Claimed, Some(LeaseEnd::Abandoned), None),
        (s(1), LeaseEvent::GraceExpired, LeaseState::Lost(Reason::Shutdown), Some(LeaseEnd::Lost), None),
        // A stop is in time only as long as no worker rescues the item.
        (s(1), FINISH, LeaseState::Claimed, None, Some(s(10))),
        (s(29), FINISH, LeaseState::Claimed, None, Some(s(1))),
        (s(30), FINISH, LeaseState::Lost(Reason::Expired), Some(LeaseEnd::Lost), None),
    ] {
        let mut lease = claimed();
        let actions = lease.next(now, event.clone());
        assert_eq!((lease.state(), actions.end, actions.stop), (state, end, stop), "{now:?} {event:?}");
        assert_eq!(actions.heartbeat, None);
    }
    let mut unlimited = LeaseMachine::claim_only(ClockTime::MAX);
    unlimited.next(s(1), LeaseEvent::Tick);
    assert_eq!(unlimited.next(s(1_000_000), FINISH).stop, Some(s(10)));
    assert_eq!(unlimited.next(s(1_000_001), stopped(StopResult::Done)).end, Some(LeaseEnd::Stopped));
}
