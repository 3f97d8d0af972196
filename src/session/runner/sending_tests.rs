//! How results reach the session.

use super::tests::*;
use super::*;

const LOST: SendResult = SendResult::Failed { may_have_arrived: true, retry_after: None };
const NOT_SENT: SendResult = SendResult::Failed { may_have_arrived: false, retry_after: None };

/// A call whose result is being sent.
fn sending() -> Bench {
    let mut bench = Bench::live(1);
    assert_eq!(bench.see(call("a")), "run a");
    assert_eq!(bench.reply("a"), "send a");
    bench
}

#[test]
fn a_result_whose_send_failed_is_sent_again_and_not_made_again() {
    let mut bench = sending();
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        let actions = bench.machine.next(bench.now, RunnerEvent::Sent { call: "a".into(), result: NOT_SENT }, 0.0);
        assert_eq!((actions.wake_at, actions.send.len()), (Some(bench.now + s(pause)), 0));
        assert_eq!(bench.after(pause), "send a");
    }
    let wait = SendResult::Failed { may_have_arrived: false, retry_after: Some(s(7)) };
    let actions = bench.machine.next(bench.now, RunnerEvent::Sent { call: "a".into(), result: wait }, 0.0);
    assert_eq!(actions.wake_at, Some(bench.now + s(7)), "the server says when");
    assert_eq!(bench.after(7), "send a");
    assert_eq!(bench.sent("a", SendResult::Done), "outcome a posted");
    bench.reconnect();
    assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a")])), "", "also if the history does not show it yet");
}

#[test]
fn a_result_that_cannot_be_sent_in_time_waits_for_the_next_history() {
    let mut bench = sending();
    bench.now += WINDOW;
    assert_eq!(bench.sent("a", NOT_SENT), "outcome a parked");
    assert_eq!(bench.after(2), "history");
    assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a")])), "send a");
    assert_eq!(bench.sent("a", SendResult::Done), "");
}

#[test]
fn a_result_that_is_refused_waits_for_the_history_which_says_whether_it_is_wanted() {
    for (history, expected) in
        [(vec![call("a")], "send a"), (vec![call("a"), answer("a")], ""), (vec![call("a"), interrupt(50)], "")]
    {
        let mut bench = sending();
        assert_eq!(bench.sent("a", SendResult::Refused), "outcome a parked");
        assert_eq!(bench.after(2), "history");
        assert_eq!(bench.apply(RunnerEvent::HistoryRead(history.clone())), expected, "{history:?}");
    }
    // Refused each time: the history is read less and less often.
    let mut bench = sending();
    assert_eq!(bench.sent("a", SendResult::Refused), "outcome a parked");
    for pause in [2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(bench.after(pause - 1), "");
        assert_eq!(bench.after(1), "history");
        assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a")])), "send a");
        assert_eq!(bench.sent("a", SendResult::Refused), "");
    }
}

#[test]
fn a_refusal_after_a_lost_response_may_mean_that_the_result_is_there() {
    for (history, expected) in [
        (vec![call("a"), answer("a")], "outcome a posted"),
        (vec![call("a"), interrupt(50)], "outcome a interrupted"),
        (vec![call("a")], "send a"),
    ] {
        let mut bench = sending();
        assert_eq!(bench.sent("a", LOST), "");
        assert_eq!(bench.after(1), "send a");
        assert_eq!(bench.sent("a", SendResult::Refused), "", "the host waits");
        assert_eq!(bench.after(2), "history");
        assert_eq!(bench.apply(RunnerEvent::HistoryRead(history.clone())), expected, "{history:?}");
    }
}

#[test]
fn an_answer_that_comes_before_the_response_is_judged_by_the_response() {
    for (result, expected) in [
        (SendResult::Done, "outcome a posted"),
        (LOST, "outcome a posted"),
        (NOT_SENT, "outcome a answered"),
        (SendResult::Refused, "outcome a answered"),
    ] {
        let mut bench = sending();
        assert_eq!(bench.see(answer("a")), "");
        assert_eq!(bench.sent("a", result), expected, "{result:?}");
    }
    let mut bench = sending();
    bench.sent("a", LOST);
    assert_eq!(bench.see(answer("a")), "outcome a posted", "the response was lost, the result was not");
    let mut bench = sending();
    bench.sent("a", NOT_SENT);
    assert_eq!(bench.see(answer("a")), "outcome a answered");
}

#[test]
fn a_session_that_is_over_just_after_it_took_a_result_has_it() {
    for (event, expected) in
        [(event("e", 30, EventKind::Terminated), "outcome a posted, end terminated"), (interrupt(50), "outcome a posted")]
    {
        let mut bench = sending();
        assert_eq!(bench.see(answer("a")), "");
        assert_eq!(bench.see(event), expected);
    }
}

#[test]
fn an_interrupt_and_the_end_of_a_thread_void_a_result_on_its_way() {
    let mut bench = sending();
    assert_eq!(bench.see(interrupt(50)), "outcome a interrupted");
    assert_eq!(bench.sent("a", LOST), "");
    assert_eq!(bench.after(60), "", "it is not sent again");
}

#[test]
fn a_result_on_its_way_keeps_the_next_call_of_its_thread_waiting_but_one_that_is_kept_does_not() {
    let mut bench = sending();
    assert_eq!(bench.see(call("b")), "");
    assert_eq!(bench.sent("a", LOST), "");
    assert_eq!(bench.after(1), "send a");
    assert_eq!(bench.sent("a", SendResult::Refused), "run b");
}

#[test]
fn a_result_that_is_refused_again_and_again_does_not_keep_an_idle_session_alive() {
    let mut bench = sending();
    bench.see(turn_end());
    bench.sent("a", SendResult::Refused);
    let mut elapsed = 0;
    for pause in [2, 4, 8, 16] {
        assert_eq!(bench.after(pause), "history");
        assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a"), turn_end()])), "send a");
        assert_eq!(bench.sent("a", SendResult::Refused), "");
        elapsed += pause;
    }
    assert_eq!(bench.after(60 - elapsed), "end idle");
}
