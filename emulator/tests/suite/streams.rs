//! Event streams: what comes over them, and what goes wrong with them.

use serde_json::{Value, json};

use crate::{
    session_client::{Frame, Session, types},
    support::{Emulator, until},
};

fn open_streams(emulator: &Emulator) -> u64 {
    emulator.get("/_emulator/connections").ok()["streams_open"].as_u64().unwrap()
}

#[test]
fn a_stream_sends_what_happens_from_the_moment_it_opens() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    session.say("before").ok();
    let before = session.events().len();
    let mut streams: Vec<_> = (0..10).map(|_| session.stream("")).collect();
    assert_eq!(streams[0].content_type, "text/event-stream");
    let other = Session::new(&emulator);
    other.say("elsewhere").ok();
    session.say("after").ok();
    let after = session.events().split_off(before);
    for stream in &mut streams {
        assert_eq!(stream.until("session.status_idle"), after);
    }
    drop(streams);
    until("the streams of clients that have gone are closed", || open_streams(&emulator) == 0);
}

#[test]
fn a_stream_that_has_nothing_to_say_sends_pings() {
    let emulator = Emulator::start_with(&["--ping-interval-ms", "20"]);
    let session = Session::new(&emulator);
    let mut stream = session.stream("");
    for _ in 0..3 {
        assert_eq!(stream.next(), Frame::Event("ping".to_owned(), json!({"type": "ping"})));
    }
    session.say("a").ok();
    assert_eq!(types(&stream.until("session.status_idle")), session.types());
}

#[test]
fn previews_come_to_those_who_ask_for_them_and_are_no_history() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    let mut plain = session.stream("");
    let mut previews = session.stream("?event_deltas[]=agent.message&event_deltas%5B%5D=agent.thinking");
    let said = "Grüße, und das ist länger als ein Stück.";
    session.script(json!([{"thinking": true}, {"text": said}]));
    let seen = previews.until("session.status_idle");
    assert_eq!(plain.until("session.status_idle"), session.events());
    assert_eq!(types(&seen)[..4], ["session.status_running", "event_start", "agent.thinking", "event_start"]);
    assert_eq!(seen[1]["event"], json!({"type": "agent.thinking", "id": seen[2]["id"]}));
    let deltas: Vec<&Value> = seen.iter().filter(|event| event["type"] == "event_delta").collect();
    assert!(deltas.len() > 1);
    let text: String = deltas.iter().map(|delta| delta["delta"]["content"]["text"].as_str().unwrap()).collect();
    assert_eq!(text, said);
    let message = seen.iter().find(|event| event["type"] == "agent.message").unwrap();
    assert!(deltas.iter().all(|delta| delta["event_id"] == message["id"] && delta["delta"]["index"] == 0));
    emulator.get(&format!("{}/events/stream?event_deltas[]=agent.tool_use", session.path)).refused(
        400,
        "invalid_request_error",
        "",
    );
}

#[test]
fn a_reset_or_the_end_of_the_emulator_ends_streams_as_it_should() {
    let mut emulator = Emulator::start();
    let mut stream = Session::new(&emulator).stream("");
    emulator.post("/_emulator/reset", json!({})).ok();
    assert_eq!(stream.next(), Frame::End);
    let mut stream = Session::new(&emulator).stream("");
    emulator.signal("-TERM");
    assert_eq!(stream.next(), Frame::End);
    assert!(emulator.wait().success());
}

#[test]
fn a_stream_fails_as_requested_after_so_many_events() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    let fault = |fault: Value| emulator.fault(json!({"operation": "sessions.events.stream", "stream": fault}));
    let begun = || {
        let mut stream = session.stream("");
        session.say("a").ok();
        assert_eq!(types(&[stream.event(), stream.event()]), ["user.message", "session.status_running"]);
        stream
    };

    fault(json!({"after": 2, "then": "cut"}));
    let Frame::Cut(part) = begun().next() else { panic!("not cut") };
    assert!(part.starts_with("event: session.status_idle\ndata: {"), "{part}");

    fault(json!({"after": 2, "then": "end"}));
    assert_eq!(begun().next(), Frame::End);

    fault(json!({"after": 2, "then": "silence"}));
    begun().is_silent();

    fault(json!({"after": 2, "then": "error"}));
    let mut stream = begun();
    let Frame::Event(name, error) = stream.next() else { panic!("no error") };
    assert_eq!((name.as_str(), &error["type"], &error["error"]["type"]), ("error", &json!("error"), &json!("overloaded_error")));
    assert_eq!(stream.next(), Frame::End);

    fault(json!({"then": "end"}));
    assert_eq!(session.stream("").next(), Frame::End);
    assert_eq!(types(&[begun().event()]), ["session.status_idle"], "faults are over");
    assert_eq!(emulator.requests().last().unwrap()["operation"], "sessions.events.send");
}

#[test]
fn a_stream_can_be_split_anywhere_and_limited_to_bytes() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    emulator.fault(json!({"operation": "sessions.events.stream", "stream": {"pieces": 3}, "count": 2}));
    for _ in 0..2 {
        let mut stream = session.stream("");
        session.say("Grüße").ok();
        let events = stream.until("session.status_idle");
        assert_eq!(events[0]["content"][0]["text"], "Grüße");
        assert!(stream.chunks.iter().all(|size| (1..=3).contains(size)) && stream.chunks.contains(&1));
    }
    emulator.fault(json!({"operation": "sessions.events.stream", "cut": 10}));
    let mut stream = session.stream("");
    session.say("a").ok();
    assert_eq!(stream.next(), Frame::Cut("event: use".to_owned()));
    emulator.fault(json!({"operation": "sessions.events.stream", "status": 503}));
    emulator.get(&format!("{}/events/stream", session.path)).refused(503, "api_error", "");
    for wrong in [
        json!({"stream": {"then": "end"}}),
        json!({"operation": "sessions.events.list", "stream": {"then": "end"}}),
        json!({"operation": "sessions.events.stream", "stream": {}}),
        json!({"operation": "sessions.events.stream", "stream": {"after": 1}}),
        json!({"operation": "sessions.events.stream", "stream": {"pieces": 0}}),
        json!({"operation": "sessions.events.stream", "stream": {"then": "explode"}}),
        json!({"operation": "sessions.events.stream", "stream": {"then": "end"}, "status": 500}),
        json!({"operation": "sessions.events.stream", "stream": {"then": "end"}, "drop": true}),
    ] {
        emulator.post("/_emulator/faults", wrong).refused(400, "invalid_request_error", "");
    }
}
