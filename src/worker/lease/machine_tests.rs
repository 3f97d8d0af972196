use super::*;

const fn s(seconds: u64) -> ClockTime {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> ClockTime {
    Duration::from_millis(milliseconds)
}

fn good(last: &str, ttl: u64) -> Beaten {
    Beaten::Good { last_heartbeat: last.into(), extended: true, state: "active".into(), ttl: s(ttl) }
}

fn refused(state: &str, last: Option<&str>) -> Beaten {
    Beaten::Refused { current: Some((state.into(), last.map(str::to_owned))), in_doubt: false }
}

const LOST_REPLY: Beaten = Beaten::Failed { may_have_arrived: true, retry_after: None };
const NO_CONNECTION: Beaten = Beaten::Failed { may_have_arrived: false, retry_after: None };

const FINISH: Event = Event::Finish { patience: STOP_PATIENCE };

fn beaten(sent: ClockTime, outcome: Beaten) -> Event {
    Event::Beaten { sent, outcome, jitter: 0.0 }
}

fn stopped(outcome: Stopped) -> Event {
    Event::Stopped { outcome, jitter: 0.0 }
}

/// A lease whose first heartbeat is under way, sent at 0.
fn proving() -> Lease {
    let mut lease = Lease::new(s(0), s(0), false);
    let beat = lease.next(s(0), Event::Woken).beat.unwrap();
    assert_eq!(beat.expected, None);
    lease
}

/// A lease that is held, by a heartbeat sent at 0.
fn held(ttl: u64) -> Lease {
    let mut lease = proving();
    lease.next(ms(1), beaten(s(0), good("t1", ttl)));
    assert_eq!(lease.standing(), Standing::Held);
    lease
}

/// The same with its second heartbeat under way, and when that was sent.
fn beating(ttl: u64) -> (Lease, ClockTime) {
    let mut lease = held(ttl);
    let sent = lease.next(ms(2), Event::Woken).wake.unwrap();
    assert_eq!(lease.next(sent, Event::Woken).beat.unwrap().expected.as_deref(), Some("t1"));
    (lease, sent)
}

#[test]
fn the_interval_is_half_the_time_to_live_and_at_most_half_a_minute() {
    // A lease of one second is not kept by a heartbeat a second.
    for (ttl, interval) in [(300, ms(30_000)), (60, ms(30_000)), (10, ms(5_000)), (2, ms(1_000)), (1, ms(500))] {
        assert_eq!(beating(ttl).1, interval, "{ttl}");
    }
    let (mut lease, sent) = beating(60);
    let todo = lease.next(sent, beaten(sent, good("t2", 0)));
    assert_eq!(todo.wake, Some(sent + s(30)), "a server that does not say changes nothing");
    let mut lease = proving();
    assert_eq!(lease.next(s(0), beaten(s(0), good("t1", 0))).wake, Some(s(15)));
}

#[test]
fn chance_takes_up_to_a_quarter_off_the_interval_and_adds_nothing() {
    for (jitter, interval) in [(0.0, ms(30_000)), (0.5, ms(26_250)), (1.0, ms(22_500)), (7.0, ms(22_500))] {
        let mut lease = proving();
        let todo = lease.next(ms(1), Event::Beaten { sent: s(0), outcome: good("t1", 60), jitter });
        assert_eq!(todo.wake, Some(interval), "{jitter}");
    }
}

#[test]
fn heartbeats_that_wait_their_turn_are_told_how_long_they_have() {
    let (mut lease, until) = (proving(), s(55));
    assert_eq!(lease.next(ms(1), beaten(s(0), good("t1", 60))).wake, Some(s(30)));
    let beat = lease.next(s(30), Event::Woken).beat.unwrap();
    assert_eq!((beat.until, beat.timeout), (until, s(10)), "one over a dead connection leaves time for others");
    let first = Lease::new(s(0), s(0), false).next(s(0), Event::Woken).beat.unwrap();
    assert_eq!(first.until, PROOF);
    let mut late = Lease::new(s(7), s(0), true);
    late.next(s(7), Event::Woken);
    assert_eq!(late.next(s(17), Event::Woken).beat.unwrap().until, s(27));
}

#[test]
fn what_a_heartbeat_leads_to() {
    use Standing::*;
    let not_extended = Beaten::Good { last_heartbeat: "t2".into(), extended: false, state: "active".into(), ttl: s(60) };
    let state = |state: &str| Beaten::Good { last_heartbeat: "t2".into(), extended: true, state: state.into(), ttl: s(60) };
    for (outcome, standing) in [
        (good("t2", 60), Held),
        (state("starting"), Held),
        (state("a state of the future"), Held),
        (state("stopping"), StopRequested(Reason::Asked)),
        (state("stopped"), StopRequested(Reason::Asked)),
        (not_extended, StopRequested(Reason::NotExtended)),
        (refused("active", Some("other")), Lost(Reason::Taken)),
        (refused("queued", None), Lost(Reason::Taken)),
        (Beaten::Refused { current: None, in_doubt: false }, Lost(Reason::Taken)),
        (Beaten::Rejected, StopRequested(Reason::Rejected)),
        (LOST_REPLY, Held),
        (NO_CONNECTION, Held),
    ] {
        let (mut lease, sent) = beating(60);
        let todo = lease.next(sent + ms(5), beaten(sent, outcome.clone()));
        assert_eq!(lease.standing(), standing, "{outcome:?}");
        assert_eq!((todo.beat, todo.stop, todo.over), (None, None, None), "{outcome:?}");
        assert_eq!(todo.wake.is_none(), matches!(standing, Lost(_)), "{outcome:?}");

        // The same for the first heartbeat, when there is no holder yet.
        let mut lease = proving();
        let todo = lease.next(ms(5), beaten(s(0), outcome.clone()));
        match standing {
            Lost(_) => assert_eq!(todo.over, Some(Over::Lost), "{outcome:?}"),
            StopRequested(Reason::Rejected | Reason::NotExtended) => {
                assert_eq!((todo.over, todo.stop), (Some(Over::Refused), None), "nobody has served it: {outcome:?}");
            }
            StopRequested(_) => assert!(todo.stop.is_some() && todo.over.is_none(), "{outcome:?}"),
            _ => assert!(todo.wake.is_some() && todo.over.is_none() && todo.stop.is_none(), "{outcome:?}"),
        }
    }
}

#[test]
fn a_lease_is_lost_before_it_runs_out_whatever_is_on_its_way() {
    // The margin is a tenth, up to five seconds.
    for (ttl, end) in [(300, ms(295_000)), (10, ms(9_000)), (2, ms(1_800)), (1, ms(900))] {
        let (mut lease, sent) = beating(ttl);
        assert_eq!(lease.next(sent, Event::Woken).wake, Some(end), "{ttl}: the heartbeat is under way");
        lease.next(end - ms(1), Event::Woken);
        assert_eq!(lease.standing(), Standing::Held);
        let todo = lease.next(end, Event::Woken);
        assert_eq!(lease.standing(), Standing::Lost(Reason::Expired));
        assert_eq!(todo, Todo::default(), "nothing is stopped: the item may be somebody else's");
        // The answer comes after all.
        lease.next(end + ms(1), beaten(sent, good("t2", ttl)));
        assert_eq!(lease.standing(), Standing::Lost(Reason::Expired), "the first reason stays");
        assert_eq!(lease.next(end + ms(2), FINISH).over, Some(Over::Lost));
    }
}

#[test]
fn time_counts_from_when_a_heartbeat_was_sent() {
    let (mut lease, sent) = beating(60);
    let todo = lease.next(sent + s(20), beaten(sent, good("t2", 60)));
    assert_eq!(todo.wake, Some(sent + s(30)));
    // A machine that slept, or a process that was stopped, finds its lease lost when it wakes.
    lease.next(sent + s(3_600), Event::Woken);
    assert_eq!(lease.standing(), Standing::Lost(Reason::Expired));
}

#[test]
fn failures_are_tried_again_until_the_lease_has_run_out() {
    let (mut lease, mut now) = beating(10);
    let mut attempts = 0;
    while lease.standing() == Standing::Held {
        attempts += 1;
        let todo = lease.next(now, beaten(now, if attempts % 2 == 0 { LOST_REPLY } else { NO_CONNECTION }));
        now = todo.wake.unwrap_or(now);
        if let Some(beat) = lease.next(now, Event::Woken).beat {
            assert_eq!(beat.expected.as_deref(), Some("t1"));
            assert!(now + beat.timeout <= s(9), "an attempt is cut when the lease ends");
        }
    }
    assert_eq!((lease.standing(), now), (Standing::Lost(Reason::Expired), s(9)));
    assert!((4..60).contains(&attempts), "{attempts}");
}

#[test]
fn the_server_cannot_ask_for_more_patience_than_there_is() {
    let (mut lease, sent) = beating(10);
    let slow = Beaten::Failed { may_have_arrived: true, retry_after: Some(s(86_400)) };
    assert_eq!(lease.next(sent, beaten(sent, slow)).wake, Some(s(7)), "half of what is left");
    let mut lease = proving();
    let asked = Beaten::Failed { may_have_arrived: true, retry_after: Some(ms(700)) };
    assert_eq!(lease.next(s(1), beaten(s(0), asked)).wake, Some(ms(1_700)));
}

#[test]
fn a_lost_reply_to_a_heartbeat_does_not_lose_the_lease() {
    let (mut lease, sent) = beating(60);
    let again = lease.next(sent + s(1), beaten(sent, LOST_REPLY)).wake.unwrap();
    assert_eq!(lease.next(again, Event::Woken).beat.unwrap().expected.as_deref(), Some("t1"));
    let todo = lease.next(again + ms(3), beaten(again, refused("active", Some("t2"))));
    let beat = todo.beat.unwrap();
    assert_eq!(beat.expected.as_deref(), Some("t2"), "the heartbeat that the server has is ours");
    let todo = lease.next(again + ms(9), beaten(again + ms(3), good("t3", 60)));
    assert_eq!((lease.standing(), lease.last_heartbeat()), (Standing::Held, Some("t3")));
    // From here on a refusal is somebody else's doing again.
    let next = todo.wake.unwrap();
    lease.next(next, Event::Woken);
    lease.next(next, beaten(next, refused("active", Some("t4"))));
    assert_eq!(lease.standing(), Standing::Lost(Reason::Taken));
}

#[test]
fn a_refusal_is_only_our_own_doing_if_it_must_be() {
    let after = |failure: Beaten, answer: Beaten| {
        let (mut lease, sent) = beating(60);
        let again = lease.next(sent + s(1), beaten(sent, failure)).wake.unwrap();
        lease.next(again, Event::Woken);
        lease.next(again, beaten(again, answer));
        lease.standing()
    };
    assert_eq!(after(LOST_REPLY, refused("active", Some("t2"))), Standing::Held);
    assert_eq!(after(LOST_REPLY, refused("starting", Some("t2"))), Standing::Held);
    let lost = Standing::Lost(Reason::Taken);
    assert_eq!(after(NO_CONNECTION, refused("active", Some("t2"))), lost, "what was not sent was not recorded");
    for answer in [
        refused("queued", None),
        refused("active", None),
        refused("active", Some("t1")),
        Beaten::Refused { current: None, in_doubt: false },
    ] {
        assert_eq!(after(LOST_REPLY, answer.clone()), lost, "{answer:?}");
    }
}

#[test]
fn a_heartbeat_that_was_sent_twice_may_have_been_recorded_the_first_time() {
    for (in_doubt, standing) in [(true, Standing::Held), (false, Standing::Lost(Reason::Taken))] {
        let (mut lease, sent) = beating(60);
        let current = Some(("active".to_owned(), Some("t2".to_owned())));
        lease.next(sent + ms(2), beaten(sent, Beaten::Refused { current, in_doubt }));
        assert_eq!(lease.standing(), standing);
    }
}

#[test]
fn the_first_heartbeat_may_be_lost_too_while_it_must_have_been_the_first() {
    let first_lost = |polled: ClockTime, answered: ClockTime| {
        let mut lease = Lease::new(s(20), polled, false);
        lease.next(s(20), Event::Woken);
        let again = lease.next(s(21), beaten(s(20), LOST_REPLY)).wake.unwrap();
        assert_eq!(lease.next(again, Event::Woken).beat.unwrap().expected, None);
        lease.next(answered, beaten(again, refused("active", Some("t1"))))
    };
    assert_eq!(first_lost(s(20), s(22)).beat.unwrap().expected.as_deref(), Some("t1"));
    assert_eq!(first_lost(s(12), s(22)).over, Some(Over::Lost), "by then a late worker's may have come before it");
}

#[test]
fn who_acknowledged_late_lets_others_go_first() {
    let mut lease = Lease::new(s(7), s(0), true);
    assert_eq!(lease.next(s(7), Event::Woken).wake, Some(s(7) + PROOF));
    assert_eq!(lease.next(s(17), Event::Woken).beat.unwrap().expected, None);
    let mut other = lease.clone();
    assert_eq!(lease.next(s(18), beaten(s(17), refused("active", Some("t1")))).over, Some(Over::Lost));
    let again = other.next(s(18), beaten(s(17), LOST_REPLY)).wake.unwrap();
    other.next(again, Event::Woken);
    assert_eq!(other.next(again, beaten(again, refused("active", Some("t1")))).over, Some(Over::Lost), "not even then");
}

#[test]
fn what_cannot_be_proven_in_time_is_not_believed() {
    // A heartbeat that may have been recorded began a lease, which may have run out since; and then somebody else came.
    let mut lease = proving();
    lease.next(s(3), beaten(s(0), LOST_REPLY));
    let mut others = lease.clone();
    assert_eq!(lease.next(PROOF, Event::Woken).over, Some(Over::Unproven));
    let again = others.next(s(4), Event::Woken);
    assert!(again.beat.is_some_and(|beat| s(4) + beat.timeout <= PROOF) && again.wake == Some(PROOF));
    assert_eq!(others.next(s(11), beaten(s(4), good("t1", 300))).over, Some(Over::Unproven));
    assert_eq!(others.standing(), Standing::Proving);
    // Where none can have been recorded there is no hurry.
    let mut lease = proving();
    let mut now = s(0);
    while now < s(100) {
        now = lease.next(now, beaten(now, NO_CONNECTION)).wake.unwrap();
        lease.next(now, Event::Woken);
    }
    lease.next(now, beaten(now, good("t1", 300)));
    assert_eq!(lease.standing(), Standing::Held);
    // Late, there is a time for it.
    let mut lease = Lease::new(s(7), s(0), true);
    assert!(lease.next(s(17), Event::Woken).beat.is_some());
    assert_eq!(lease.next(s(27), Event::Woken).over, Some(Over::Unproven));
    let mut lease = Lease::new(s(7), s(0), true);
    lease.next(s(17), Event::Woken);
    let mut asked = lease.clone();
    assert_eq!(lease.next(s(18), beaten(s(17), Beaten::Rejected)).over, Some(Over::Refused));
    let stopping = Beaten::Good { last_heartbeat: "t1".into(), extended: false, state: "stopping".into(), ttl: s(60) };
    let todo = asked.next(s(18), beaten(s(17), stopping));
    assert_eq!((todo.over, todo.stop), (Some(Over::Lost), None), "nothing is stopped that may be another's");
}

#[test]
fn finishing_stops_the_item_and_keeps_the_lease_until_that_is_done() {
    let mut lease = held(10);
    let todo = lease.next(s(1), FINISH);
    assert_eq!((todo.stop, todo.wake), (Some(s(8)), Some(s(5))), "within the lease");
    assert_eq!(lease.next(s(2), FINISH).stop, None, "once is enough");
    let again = lease.next(s(3), stopped(Stopped::Failed)).wake.unwrap();
    assert_eq!(again, ms(3_250));
    assert!(lease.next(again, Event::Woken).stop.is_some());
    assert!(lease.next(s(5), Event::Woken).beat.is_some(), "meanwhile nobody else is to get it");
    lease.next(s(6), beaten(s(5), good("t2", 10)));
    assert_eq!(lease.next(s(6), stopped(Stopped::Done)).over, Some(Over::Stopped));
}

#[test]
fn a_stop_that_fails_for_good_or_for_long_is_given_up() {
    assert_eq!(held(60).next(s(1), FINISH).over, None);
    let mut lease = held(60);
    lease.next(s(1), FINISH);
    assert_eq!(lease.next(s(2), stopped(Stopped::Rejected)).over, Some(Over::NotStopped));
    let mut lease = held(300);
    lease.next(s(1), FINISH);
    let mut now = s(1);
    while lease.over.is_none() {
        let todo = lease.next(now, stopped(Stopped::Failed));
        now = todo.wake.unwrap_or(now);
        if let Some(beat) = lease.next(now, Event::Woken).beat {
            lease.next(now, beaten(now, good(&format!("{now:?} {beat:?}"), 300)));
        }
    }
    assert_eq!(lease.over, Some(Over::NotStopped));
    assert!((s(50)..=s(61)).contains(&now), "{now:?}");
}

#[test]
fn a_process_that_stood_still_while_it_stopped_an_item_tries_once_more_or_gives_up() {
    let (mut lease, sent) = beating(60);
    lease.next(sent, beaten(sent, Beaten::Rejected));
    assert!(lease.next(sent, FINISH).stop.is_some());
    let again = lease.next(sent + s(1), stopped(Stopped::Failed)).wake.unwrap();
    let mut late = lease.clone();
    assert!(lease.next(again + s(10), Event::Woken).stop.is_some());
    assert_eq!(late.next(again + s(3_600), Event::Woken).over, Some(Over::Lost));
}

#[test]
fn a_stop_that_hangs_is_cut_off_when_its_time_is_over() {
    let mut lease = held(300);
    let todo = lease.next(s(1), FINISH);
    assert_eq!((todo.stop, todo.wake), (Some(s(10)), Some(s(30))));
    // The worker is given up meanwhile, which leaves the stop less time than it was sent with.
    let todo = lease.next(s(2), Event::GiveUp);
    assert_eq!((todo.over, todo.wake), (None, Some(s(2) + LAST_STOP_PATIENCE)));
    assert_eq!(lease.next(s(2) + LAST_STOP_PATIENCE, Event::Woken).over, Some(Over::NotStopped));
}

#[test]
fn a_lease_that_is_lost_while_it_is_being_finished_stops_nothing_more() {
    let mut lease = held(10);
    lease.next(s(1), FINISH);
    lease.next(s(5), Event::Woken);
    let todo = lease.next(s(9), Event::Woken);
    assert_eq!((todo.over, todo.stop), (Some(Over::Lost), None));
}

#[test]
fn an_item_whose_stop_is_requested_is_not_beaten_for_any_more() {
    let (mut lease, sent) = beating(60);
    let stopping = Beaten::Good { last_heartbeat: "t1".into(), extended: false, state: "stopping".into(), ttl: s(60) };
    let ends = s(55);
    assert_eq!(lease.next(sent, beaten(sent, stopping)), Todo { wake: Some(ends), ..Todo::default() });
    assert_eq!(
        lease.next(ends - ms(1), Event::Woken),
        Todo { wake: Some(ends), ..Todo::default() },
        "the holder may take its time"
    );
    assert!(lease.next(ends - ms(1), FINISH).stop.is_some());
}

#[test]
fn whoever_is_asked_to_stop_has_as_long_as_the_lease_lasts() {
    let state = |state: &str, extended| Beaten::Good { last_heartbeat: "t1".into(), extended, state: state.into(), ttl: s(60) };
    for (event, reason) in [
        (beaten(s(30), Beaten::Rejected), Reason::Rejected),
        (beaten(s(30), state("active", false)), Reason::NotExtended),
        (beaten(s(30), state("stopping", false)), Reason::Asked),
    ] {
        let (mut lease, _) = beating(60);
        lease.next(s(30), event);
        assert_eq!(lease.standing(), Standing::StopRequested(reason));
        let mut finishing = lease.clone();
        assert_eq!(lease.next(s(55), Event::Woken), Todo::default(), "who holds it is told, and has to end it still");
        assert_eq!(lease.standing(), Standing::Lost(Reason::Expired), "{reason:?}");
        let todo = lease.next(s(56), FINISH);
        assert_eq!((todo.over, todo.stop), (Some(Over::Lost), None), "somebody else may have the item: nothing is sent");
        // What is under way by then is cut off, and was not to take longer.
        let todo = finishing.next(s(50), FINISH);
        assert_eq!((todo.stop, todo.wake), (Some(s(5)), Some(s(55))));
        assert_eq!(finishing.next(s(55), Event::Woken).over, Some(Over::Lost));
    }
    let mut lease = held(10);
    lease.next(ms(8_500), Event::GiveUp);
    assert_eq!(lease.next(s(9), Event::Woken).over, Some(Over::Lost), "also at the end of the worker");
}

#[test]
fn abandoning_sends_nothing() {
    assert_eq!(held(60).next(s(1), Event::Abandon), Todo { over: Some(Over::Abandoned), ..Todo::default() });
}

#[test]
fn at_the_end_of_the_worker_every_item_is_stopped_unless_it_may_be_anothers() {
    let mut lease = held(60);
    let todo = lease.next(s(1), Event::GiveUp);
    assert_eq!((lease.standing(), todo.stop), (Standing::StopRequested(Reason::Shutdown), Some(LAST_STOP_PATIENCE)));
    let mut lease = held(60);
    lease.next(s(1), FINISH);
    lease.next(s(2), Event::GiveUp);
    let mut now = s(2);
    while lease.over.is_none() {
        now = lease.next(now, stopped(Stopped::Failed)).wake.unwrap_or(now);
        lease.next(now, Event::Woken);
    }
    assert!(now <= s(8), "within a bound: {now:?}");
    // Not proven yet: it is stopped, for a heartbeat may never have arrived ...
    assert!(proving().next(s(1), Event::GiveUp).stop.is_some());
    let mut lease = proving();
    lease.next(s(3), beaten(s(0), LOST_REPLY));
    assert!(lease.next(s(9), Event::GiveUp).stop.is_some());
    // ... unless another may have been handed the item.
    assert_eq!(Lease::new(s(7), s(0), true).next(s(20), Event::GiveUp).over, Some(Over::Lost));
    let (mut lease, sent) = beating(60);
    lease.next(sent, beaten(sent, refused("active", Some("other"))));
    assert_eq!(lease.next(sent, Event::GiveUp).over, Some(Over::Lost));
}
