use super::*;

pub(super) const fn s(seconds: u64) -> ClockTime {
    Duration::from_secs(seconds)
}

pub(super) const fn ms(milliseconds: u64) -> ClockTime {
    Duration::from_millis(milliseconds)
}

pub(super) fn extended(last: &str, ttl: u64) -> HeartbeatResult {
    HeartbeatResult::Accepted { last_heartbeat: last.into(), extended: true, state: "active".into(), ttl: s(ttl) }
}

pub(super) fn refused(state: &str, last: Option<&str>) -> HeartbeatResult {
    HeartbeatResult::PreconditionFailed { current: Some((state.into(), last.map(str::to_owned))), may_have_arrived: false }
}

pub(super) const LOST_REPLY: HeartbeatResult = HeartbeatResult::Failed { may_have_arrived: true, retry_after: None };
pub(super) const NO_CONNECTION: HeartbeatResult = HeartbeatResult::Failed { may_have_arrived: false, retry_after: None };

pub(super) const FINISH: LeaseEvent = LeaseEvent::Finish { timeout: STOP_TIMEOUT };

pub(super) fn heartbeat(sent: ClockTime, result: HeartbeatResult) -> LeaseEvent {
    LeaseEvent::HeartbeatDone { sent, result, jitter: 0.0 }
}

pub(super) fn stopped(result: StopResult) -> LeaseEvent {
    LeaseEvent::StopDone { result, jitter: 0.0 }
}

/// A lease whose first heartbeat is in flight, sent at 0.
fn unconfirmed() -> LeaseMachine {
    let mut lease = LeaseMachine::new(s(0), s(0), false);
    let request = lease.next(s(0), LeaseEvent::Tick).heartbeat.unwrap();
    assert_eq!(request.expected, None);
    lease
}

/// A lease that is held, by a heartbeat sent at 0.
pub(super) fn held(ttl: u64) -> LeaseMachine {
    let mut lease = unconfirmed();
    lease.next(ms(1), heartbeat(s(0), extended("t1", ttl)));
    assert_eq!(lease.state(), LeaseState::Held);
    lease
}

/// The same with its second heartbeat in flight, and when that was sent.
pub(super) fn renewing(ttl: u64) -> (LeaseMachine, ClockTime) {
    let mut lease = held(ttl);
    let sent = lease.next(ms(2), LeaseEvent::Tick).wake_at.unwrap();
    assert_eq!(lease.next(sent, LeaseEvent::Tick).heartbeat.unwrap().expected.as_deref(), Some("t1"));
    (lease, sent)
}

#[test]
fn the_interval_is_half_the_time_to_live_and_at_most_half_a_minute() {
    // A lease of one second is not kept by a heartbeat a second.
    for (ttl, interval) in [(300, ms(30_000)), (60, ms(30_000)), (10, ms(5_000)), (2, ms(1_000)), (1, ms(500))] {
        assert_eq!(renewing(ttl).1, interval, "{ttl}");
    }
    let (mut lease, sent) = renewing(60);
    let actions = lease.next(sent, heartbeat(sent, extended("t2", 0)));
    assert_eq!(actions.wake_at, Some(sent + s(30)), "a server that does not report it changes nothing");
    let mut lease = unconfirmed();
    assert_eq!(lease.next(s(0), heartbeat(s(0), extended("t1", 0))).wake_at, Some(s(15)));
}

#[test]
fn jitter_takes_up_to_a_quarter_off_the_interval_and_adds_nothing() {
    for (jitter, interval) in [(0.0, ms(30_000)), (0.5, ms(26_250)), (1.0, ms(22_500)), (7.0, ms(22_500))] {
        let mut lease = unconfirmed();
        let actions = lease.next(ms(1), LeaseEvent::HeartbeatDone { sent: s(0), result: extended("t1", 60), jitter });
        assert_eq!(actions.wake_at, Some(interval), "{jitter}");
    }
}

#[test]
fn a_heartbeat_that_waits_for_a_permit_knows_how_long_it_may() {
    let (mut lease, until) = (unconfirmed(), s(55));
    assert_eq!(lease.next(ms(1), heartbeat(s(0), extended("t1", 60))).wake_at, Some(s(30)));
    let request = lease.next(s(30), LeaseEvent::Tick).heartbeat.unwrap();
    assert_eq!((request.until, request.timeout), (until, s(10)), "one over a dead connection leaves time for others");
    let first = LeaseMachine::new(s(0), s(0), false).next(s(0), LeaseEvent::Tick).heartbeat.unwrap();
    assert_eq!(first.until, CONFIRM_WINDOW);
    let mut late = LeaseMachine::new(s(7), s(0), true);
    late.next(s(7), LeaseEvent::Tick);
    assert_eq!(late.next(s(17), LeaseEvent::Tick).heartbeat.unwrap().until, s(27));
}

#[test]
fn what_a_heartbeat_leads_to() {
    use LeaseState::*;
    let not_extended =
        HeartbeatResult::Accepted { last_heartbeat: "t2".into(), extended: false, state: "active".into(), ttl: s(60) };
    let state =
        |state: &str| HeartbeatResult::Accepted { last_heartbeat: "t2".into(), extended: true, state: state.into(), ttl: s(60) };
    for (result, state) in [
        (extended("t2", 60), Held),
        (state("starting"), Held),
        (state("a state of the future"), Held),
        (state("stopping"), StopRequested(Reason::StopRequested)),
        (state("stopped"), StopRequested(Reason::StopRequested)),
        (not_extended, StopRequested(Reason::NotExtended)),
        (refused("active", Some("other")), Lost(Reason::Taken)),
        (refused("queued", None), Lost(Reason::Taken)),
        (HeartbeatResult::PreconditionFailed { current: None, may_have_arrived: false }, Lost(Reason::Taken)),
        (HeartbeatResult::Rejected, StopRequested(Reason::Rejected)),
        (LOST_REPLY, Held),
        (NO_CONNECTION, Held),
    ] {
        let (mut lease, sent) = renewing(60);
        let actions = lease.next(sent + ms(5), heartbeat(sent, result.clone()));
        assert_eq!(lease.state(), state, "{result:?}");
        assert_eq!((actions.heartbeat, actions.stop, actions.end), (None, None, None), "{result:?}");
        assert_eq!(actions.wake_at.is_none(), matches!(state, Lost(_)), "{result:?}");

        // The same for the first heartbeat, when there is no holder yet.
        let mut lease = unconfirmed();
        let actions = lease.next(ms(5), heartbeat(s(0), result.clone()));
        match state {
            Lost(_) => assert_eq!(actions.end, Some(LeaseEnd::Lost), "{result:?}"),
            StopRequested(Reason::Rejected | Reason::NotExtended) => {
                assert_eq!((actions.end, actions.stop), (Some(LeaseEnd::Rejected), None), "no worker has served it: {result:?}");
            }
            StopRequested(_) => assert!(actions.stop.is_some() && actions.end.is_none(), "{result:?}"),
            _ => assert!(actions.wake_at.is_some() && actions.end.is_none() && actions.stop.is_none(), "{result:?}"),
        }
    }
}

#[test]
fn a_lease_is_lost_before_it_expires_whatever_is_in_flight() {
    // The margin is a tenth, up to five seconds.
    for (ttl, end) in [(300, ms(295_000)), (10, ms(9_000)), (2, ms(1_800)), (1, ms(900))] {
        let (mut lease, sent) = renewing(ttl);
        assert_eq!(lease.next(sent, LeaseEvent::Tick).wake_at, Some(end), "{ttl}: the heartbeat is in flight");
        lease.next(end - ms(1), LeaseEvent::Tick);
        assert_eq!(lease.state(), LeaseState::Held);
        let actions = lease.next(end, LeaseEvent::Tick);
        assert_eq!(lease.state(), LeaseState::Lost(Reason::Expired));
        assert_eq!(actions, Actions::default(), "nothing is stopped: the item may be another worker's");
        // The response arrives after all.
        lease.next(end + ms(1), heartbeat(sent, extended("t2", ttl)));
        assert_eq!(lease.state(), LeaseState::Lost(Reason::Expired), "the first reason stays");
        assert_eq!(lease.next(end + ms(2), FINISH).end, Some(LeaseEnd::Lost));
    }
}

#[test]
fn time_counts_from_when_a_heartbeat_was_sent() {
    let (mut lease, sent) = renewing(60);
    let actions = lease.next(sent + s(20), heartbeat(sent, extended("t2", 60)));
    assert_eq!(actions.wake_at, Some(sent + s(30)));
    // A machine or a process that was suspended finds its lease lost when it resumes.
    lease.next(sent + s(3_600), LeaseEvent::Tick);
    assert_eq!(lease.state(), LeaseState::Lost(Reason::Expired));
}

#[test]
fn failed_heartbeats_are_retried_until_the_lease_has_expired() {
    let (mut lease, mut now) = renewing(10);
    let mut attempts = 0;
    while lease.state() == LeaseState::Held {
        attempts += 1;
        let actions = lease.next(now, heartbeat(now, if attempts % 2 == 0 { LOST_REPLY } else { NO_CONNECTION }));
        now = actions.wake_at.unwrap_or(now);
        if let Some(request) = lease.next(now, LeaseEvent::Tick).heartbeat {
            assert_eq!(request.expected.as_deref(), Some("t1"));
            assert!(now + request.timeout <= s(9), "an attempt is cut when the lease ends");
        }
    }
    assert_eq!((lease.state(), now), (LeaseState::Lost(Reason::Expired), s(9)));
    assert!((4..60).contains(&attempts), "{attempts}");
}

#[test]
fn the_server_cannot_ask_for_a_longer_wait_than_there_is_time() {
    let (mut lease, sent) = renewing(10);
    let slow = HeartbeatResult::Failed { may_have_arrived: true, retry_after: Some(s(86_400)) };
    assert_eq!(lease.next(sent, heartbeat(sent, slow)).wake_at, Some(s(7)), "half of what is left");
    let mut lease = unconfirmed();
    let asked = HeartbeatResult::Failed { may_have_arrived: true, retry_after: Some(ms(700)) };
    assert_eq!(lease.next(s(1), heartbeat(s(0), asked)).wake_at, Some(ms(1_700)));
}

#[test]
fn a_lost_reply_to_a_heartbeat_does_not_lose_the_lease() {
    let (mut lease, sent) = renewing(60);
    let again = lease.next(sent + s(1), heartbeat(sent, LOST_REPLY)).wake_at.unwrap();
    assert_eq!(lease.next(again, LeaseEvent::Tick).heartbeat.unwrap().expected.as_deref(), Some("t1"));
    let actions = lease.next(again + ms(3), heartbeat(again, refused("active", Some("t2"))));
    let request = actions.heartbeat.unwrap();
    assert_eq!(request.expected.as_deref(), Some("t2"), "the heartbeat that the server has is ours");
    let actions = lease.next(again + ms(9), heartbeat(again + ms(3), extended("t3", 60)));
    assert_eq!((lease.state(), lease.last_heartbeat()), (LeaseState::Held, Some("t3")));
    // From here on a 412 is attributed to another worker again.
    let next = actions.wake_at.unwrap();
    lease.next(next, LeaseEvent::Tick);
    lease.next(next, heartbeat(next, refused("active", Some("t4"))));
    assert_eq!(lease.state(), LeaseState::Lost(Reason::Taken));
}

#[test]
fn a_412_is_attributed_to_ourselves_only_when_nothing_else_can_explain_it() {
    let after = |failure: HeartbeatResult, answer: HeartbeatResult| {
        let (mut lease, sent) = renewing(60);
        let again = lease.next(sent + s(1), heartbeat(sent, failure)).wake_at.unwrap();
        lease.next(again, LeaseEvent::Tick);
        lease.next(again, heartbeat(again, answer));
        lease.state()
    };
    assert_eq!(after(LOST_REPLY, refused("active", Some("t2"))), LeaseState::Held);
    assert_eq!(after(LOST_REPLY, refused("starting", Some("t2"))), LeaseState::Held);
    let lost = LeaseState::Lost(Reason::Taken);
    assert_eq!(after(NO_CONNECTION, refused("active", Some("t2"))), lost, "what was not sent was not recorded");
    for answer in [
        refused("queued", None),
        refused("active", None),
        refused("active", Some("t1")),
        HeartbeatResult::PreconditionFailed { current: None, may_have_arrived: false },
    ] {
        assert_eq!(after(LOST_REPLY, answer.clone()), lost, "{answer:?}");
    }
}

#[test]
fn a_heartbeat_that_was_sent_twice_may_have_been_recorded_the_first_time() {
    for (may_have_arrived, state) in [(true, LeaseState::Held), (false, LeaseState::Lost(Reason::Taken))] {
        let (mut lease, sent) = renewing(60);
        let current = Some(("active".to_owned(), Some("t2".to_owned())));
        lease.next(sent + ms(2), heartbeat(sent, HeartbeatResult::PreconditionFailed { current, may_have_arrived }));
        assert_eq!(lease.state(), state);
    }
}

#[test]
fn the_response_to_the_first_heartbeat_may_be_lost_while_no_other_worker_can_have_sent_one() {
    let first_lost = |polled: ClockTime, answered: ClockTime| {
        let mut lease = LeaseMachine::new(s(20), polled, false);
        lease.next(s(20), LeaseEvent::Tick);
        let again = lease.next(s(21), heartbeat(s(20), LOST_REPLY)).wake_at.unwrap();
        assert_eq!(lease.next(again, LeaseEvent::Tick).heartbeat.unwrap().expected, None);
        lease.next(answered, heartbeat(again, refused("active", Some("t1"))))
    };
    assert_eq!(first_lost(s(20), s(22)).heartbeat.unwrap().expected.as_deref(), Some("t1"));
    assert_eq!(
        first_lost(s(12), s(22)).end,
        Some(LeaseEnd::Lost),
        "by then a heartbeat of a late worker may have come before it"
    );
}

#[test]
fn a_worker_that_acknowledged_late_lets_others_go_first() {
    let mut lease = LeaseMachine::new(s(7), s(0), true);
    assert_eq!(lease.next(s(7), LeaseEvent::Tick).wake_at, Some(s(7) + CONFIRM_WINDOW));
    assert_eq!(lease.next(s(17), LeaseEvent::Tick).heartbeat.unwrap().expected, None);
    let mut other = lease.clone();
    assert_eq!(lease.next(s(18), heartbeat(s(17), refused("active", Some("t1")))).end, Some(LeaseEnd::Lost));
    let again = other.next(s(18), heartbeat(s(17), LOST_REPLY)).wake_at.unwrap();
    other.next(again, LeaseEvent::Tick);
    assert_eq!(other.next(again, heartbeat(again, refused("active", Some("t1")))).end, Some(LeaseEnd::Lost), "not even then");
}

#[test]
fn a_lease_that_is_not_confirmed_in_time_is_not_held() {
    // A heartbeat that may have been recorded started a lease, which may have expired since; then another worker came.
    let mut lease = unconfirmed();
    lease.next(s(3), heartbeat(s(0), LOST_REPLY));
    let mut others = lease.clone();
    assert_eq!(lease.next(CONFIRM_WINDOW, LeaseEvent::Tick).end, Some(LeaseEnd::Unconfirmed));
    let again = others.next(s(4), LeaseEvent::Tick);
    assert!(
        again.heartbeat.is_some_and(|request| s(4) + request.timeout <= CONFIRM_WINDOW) && again.wake_at == Some(CONFIRM_WINDOW)
    );
    assert_eq!(others.next(s(11), heartbeat(s(4), extended("t1", 300))).end, Some(LeaseEnd::Unconfirmed));
    assert_eq!(others.state(), LeaseState::Unconfirmed);
    // As long as none can have been recorded there is no limit.
    let mut lease = unconfirmed();
    let mut now = s(0);
    while now < s(100) {
        now = lease.next(now, heartbeat(now, NO_CONNECTION)).wake_at.unwrap();
        lease.next(now, LeaseEvent::Tick);
    }
    lease.next(now, heartbeat(now, extended("t1", 300)));
    assert_eq!(lease.state(), LeaseState::Held);
    // Acknowledged late, there is a limit.
    let mut lease = LeaseMachine::new(s(7), s(0), true);
    assert!(lease.next(s(17), LeaseEvent::Tick).heartbeat.is_some());
    assert_eq!(lease.next(s(27), LeaseEvent::Tick).end, Some(LeaseEnd::Unconfirmed));
    let mut lease = LeaseMachine::new(s(7), s(0), true);
    lease.next(s(17), LeaseEvent::Tick);
    let mut asked = lease.clone();
    assert_eq!(lease.next(s(18), heartbeat(s(17), HeartbeatResult::Rejected)).end, Some(LeaseEnd::Rejected));
    let stopping =
        HeartbeatResult::Accepted { last_heartbeat: "t1".into(), extended: false, state: "stopping".into(), ttl: s(60) };
    let actions = asked.next(s(18), heartbeat(s(17), stopping));
    assert_eq!((actions.end, actions.stop), (Some(LeaseEnd::Lost), None), "an item that may be another worker's is not stopped");
}

#[test]
fn finishing_stops_the_item_and_keeps_the_lease_until_that_is_done() {
    let mut lease = held(10);
    let actions = lease.next(s(1), FINISH);
    assert_eq!((actions.stop, actions.wake_at), (Some(s(8)), Some(s(5))), "within the lease");
    assert_eq!(lease.next(s(2), FINISH).stop, None, "once is enough");
    let again = lease.next(s(3), stopped(StopResult::Failed)).wake_at.unwrap();
    assert_eq!(again, ms(3_250));
    assert!(lease.next(again, LeaseEvent::Tick).stop.is_some());
    assert!(lease.next(s(5), LeaseEvent::Tick).heartbeat.is_some(), "meanwhile no other worker may get it");
    lease.next(s(6), heartbeat(s(5), extended("t2", 10)));
    assert_eq!(lease.next(s(6), stopped(StopResult::Done)).end, Some(LeaseEnd::Stopped));
}

#[test]
fn a_stop_that_fails_permanently_or_for_long_is_given_up() {
    assert_eq!(held(60).next(s(1), FINISH).end, None);
    let mut lease = held(60);
    lease.next(s(1), FINISH);
    assert_eq!(lease.next(s(2), stopped(StopResult::Rejected)).end, Some(LeaseEnd::NotStopped));
    let mut lease = held(300);
    lease.next(s(1), FINISH);
    let mut now = s(1);
    while lease.end.is_none() {
        let actions = lease.next(now, stopped(StopResult::Failed));
        now = actions.wake_at.unwrap_or(now);
        if let Some(request) = lease.next(now, LeaseEvent::Tick).heartbeat {
            lease.next(now, heartbeat(now, extended(&format!("{now:?} {request:?}"), 300)));
        }
    }
    assert_eq!(lease.end, Some(LeaseEnd::NotStopped));
    assert!((s(50)..=s(61)).contains(&now), "{now:?}");
}

#[test]
fn a_process_that_was_suspended_while_it_stopped_an_item_tries_once_more_or_gives_up() {
    let (mut lease, sent) = renewing(60);
    lease.next(sent, heartbeat(sent, HeartbeatResult::Rejected));
    assert!(lease.next(sent, FINISH).stop.is_some());
    let again = lease.next(sent + s(1), stopped(StopResult::Failed)).wake_at.unwrap();
    let mut late = lease.clone();
    assert!(lease.next(again + s(10), LeaseEvent::Tick).stop.is_some());
    assert_eq!(late.next(again + s(3_600), LeaseEvent::Tick).end, Some(LeaseEnd::Lost));
}

#[test]
fn a_stop_that_hangs_is_cut_off_when_its_time_is_over() {
    let mut lease = held(300);
    let actions = lease.next(s(1), FINISH);
    assert_eq!((actions.stop, actions.wake_at), (Some(s(10)), Some(s(30))));
    // The grace period expires meanwhile, which leaves the stop less time than it was sent with.
    let actions = lease.next(s(2), LeaseEvent::GraceExpired);
    assert_eq!((actions.end, actions.wake_at), (None, Some(s(2) + SHUTDOWN_STOP_TIMEOUT)));
    assert_eq!(lease.next(s(2) + SHUTDOWN_STOP_TIMEOUT, LeaseEvent::Tick).end, Some(LeaseEnd::NotStopped));
}

#[test]
fn a_lease_that_is_lost_while_it_is_being_finished_stops_nothing_more() {
    let mut lease = held(10);
    lease.next(s(1), FINISH);
    lease.next(s(5), LeaseEvent::Tick);
    let actions = lease.next(s(9), LeaseEvent::Tick);
    assert_eq!((actions.end, actions.stop), (Some(LeaseEnd::Lost), None));
}

#[test]
fn an_item_whose_stop_is_requested_gets_no_more_heartbeats() {
    let (mut lease, sent) = renewing(60);
    let stopping =
        HeartbeatResult::Accepted { last_heartbeat: "t1".into(), extended: false, state: "stopping".into(), ttl: s(60) };
    let ends = s(55);
    assert_eq!(lease.next(sent, heartbeat(sent, stopping)), Actions { wake_at: Some(ends), ..Actions::default() });
    assert_eq!(
        lease.next(ends - ms(1), LeaseEvent::Tick),
        Actions { wake_at: Some(ends), ..Actions::default() },
        "the holder may take its time"
    );
    assert!(lease.next(ends - ms(1), FINISH).stop.is_some());
}

#[test]
fn a_holder_that_is_asked_to_stop_has_as_long_as_the_lease_lasts() {
    let state = |state: &str, extended| HeartbeatResult::Accepted {
        last_heartbeat: "t1".into(),
        extended,
        state: state.into(),
        ttl: s(60),
    };
    for (event, reason) in [
        (heartbeat(s(30), HeartbeatResult::Rejected), Reason::Rejected),
        (heartbeat(s(30), state("active", false)), Reason::NotExtended),
        (heartbeat(s(30), state("stopping", false)), Reason::StopRequested),
    ] {
        let (mut lease, _) = renewing(60);
        lease.next(s(30), event);
        assert_eq!(lease.state(), LeaseState::StopRequested(reason));
        let mut finishing = lease.clone();
        assert_eq!(lease.next(s(55), LeaseEvent::Tick), Actions::default(), "the holder is notified, and still has to finish it");
        assert_eq!(lease.state(), LeaseState::Lost(Reason::Expired), "{reason:?}");
        let actions = lease.next(s(56), FINISH);
        assert_eq!(
            (actions.end, actions.stop),
            (Some(LeaseEnd::Lost), None),
            "another worker may have the item: nothing is sent"
        );
        // A request in flight by then is cut off, and was not meant to take longer.
        let actions = finishing.next(s(50), FINISH);
        assert_eq!((actions.stop, actions.wake_at), (Some(s(5)), Some(s(55))));
        assert_eq!(finishing.next(s(55), LeaseEvent::Tick).end, Some(LeaseEnd::Lost));
    }
    let mut lease = held(10);
    lease.next(ms(8_500), LeaseEvent::GraceExpired);
    assert_eq!(lease.next(s(9), LeaseEvent::Tick).end, Some(LeaseEnd::Lost), "also after the grace period");
}

#[test]
fn abandoning_sends_nothing() {
    assert_eq!(held(60).next(s(1), LeaseEvent::Abandon), Actions { end: Some(LeaseEnd::Abandoned), ..Actions::default() });
}

#[test]
fn when_the_grace_period_expires_every_item_is_stopped_unless_it_may_be_another_workers() {
    let mut lease = held(60);
    let actions = lease.next(s(1), LeaseEvent::GraceExpired);
    assert_eq!((lease.state(), actions.stop), (LeaseState::StopRequested(Reason::Shutdown), Some(SHUTDOWN_STOP_TIMEOUT)));
    let mut lease = held(60);
    lease.next(s(1), FINISH);
    lease.next(s(2), LeaseEvent::GraceExpired);
    let mut now = s(2);
    while lease.end.is_none() {
        now = lease.next(now, stopped(StopResult::Failed)).wake_at.unwrap_or(now);
        lease.next(now, LeaseEvent::Tick);
    }
    assert!(now <= s(8), "within a bound: {now:?}");
    // Not confirmed yet: it is stopped, for a heartbeat may never have arrived ...
    assert!(unconfirmed().next(s(1), LeaseEvent::GraceExpired).stop.is_some());
    let mut lease = unconfirmed();
    lease.next(s(3), heartbeat(s(0), LOST_REPLY));
    assert!(lease.next(s(9), LeaseEvent::GraceExpired).stop.is_some());
    // ... unless another worker may have been handed the item.
    assert_eq!(LeaseMachine::new(s(7), s(0), true).next(s(20), LeaseEvent::GraceExpired).end, Some(LeaseEnd::Lost));
    let (mut lease, sent) = renewing(60);
    lease.next(sent, heartbeat(sent, refused("active", Some("other"))));
    assert_eq!(lease.next(sent, LeaseEvent::GraceExpired).end, Some(LeaseEnd::Lost));
}
