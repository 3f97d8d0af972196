//! The program as a process: options, signals, files, a violent end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;

use crate::support::{BETA, Connection, Emulator, LONG_BEFORE_ITS_END, Queue, Scratch, VERSION, held_polls, program, until};

#[test]
fn the_first_line_is_the_url_and_nothing_follows() {
    let mut emulator = Emulator::start();
    emulator.get("/v1/environments").ok();
    emulator.signal("-TERM");
    assert_eq!(emulator.wait().code(), Some(0));
    assert_eq!(emulator.rest_of_stdout(), "");
}

#[test]
fn signals_end_it_and_polls_that_wait_before_their_time_whatever_is_going_on() {
    for signal in ["-TERM", "-INT"] {
        until(&format!("{signal} ends a poll before its time"), || {
            let mut emulator = Emulator::start();
            let queue = emulator.queue();
            let idle: Vec<_> = (0..5).map(|_| emulator.connect()).collect();
            let mut kept = emulator.connect();
            kept.call("GET", "/_emulator/health", &[], None).unwrap().ok();
            let (answers, took) = held_polls(&queue, 4, "?block_ms=999", || emulator.signal(signal));
            assert!(answers.iter().all(|answer| answer.text() == "null"), "a held poll is answered");
            assert_eq!(emulator.wait().code(), Some(0), "{signal}");
            assert_eq!(kept.rest().unwrap(), b"");
            drop(idle);
            took < LONG_BEFORE_ITS_END
        });
    }
}

#[test]
fn a_request_that_never_ends_does_not_keep_it_alive() {
    let mut emulator = Emulator::start();
    emulator.fault(json!({"latency_ms": 600_000}));
    let mut connection = emulator.connect();
    connection.write(b"GET /v1/environments HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    until("the request is held", || emulator.requests().len() == 1);
    emulator.signal("-TERM");
    assert_eq!(emulator.wait().code(), Some(0));
}

#[test]
fn a_closed_standard_input_ends_it_when_it_was_asked_to() {
    let mut emulator = Emulator::start_with(&["--until-stdin-closes"]);
    let queue = emulator.queue();
    let mut stdin = emulator.take_stdin().unwrap();
    stdin.write_all(b"what is written is not for it\n").unwrap();
    let (answers, _) = held_polls(&queue, 2, "?block_ms=999", || drop(stdin));
    assert!(answers.iter().all(|answer| answer.text() == "null"), "a held poll is answered");
    assert_eq!(emulator.wait().code(), Some(0));
}

#[test]
fn an_emulator_ends_with_the_program_that_started_it() {
    // The shell keeps the other end of the pipe, and is killed.
    let script = r#"mkfifo "$1" && { "$0" --port 0 --until-stdin-closes <"$1" & exec sleep 600 >"$1"; }"#;
    let scratch = Scratch::new("parent");
    let pipe = scratch.0.join("pipe");
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_antenv-emulator")]).arg(pipe).stdout(Stdio::piped());
    let mut parent = shell.spawn().unwrap();
    let mut stdout = BufReader::new(parent.stdout.take().unwrap());
    let mut url = String::new();
    stdout.read_line(&mut url).unwrap();
    Connection::open(url.trim().strip_prefix("http://").unwrap()).call("GET", "/_emulator/health", &[], None).unwrap().ok();
    parent.kill().unwrap();
    parent.wait().unwrap();
    // Its standard output ends when it has ended.
    assert_eq!(stdout.read_to_string(&mut url).unwrap(), 0);
}

#[test]
fn a_closed_standard_input_is_no_reason_to_end_otherwise() {
    let mut emulator = Emulator::start();
    drop(emulator.take_stdin());
    emulator.get("/v1/environments").ok();
    emulator.signal("-TERM");
    assert_eq!(emulator.wait().code(), Some(0));
}

#[test]
fn mistakes_in_the_options_are_one_clear_line() {
    let busy = Emulator::start();
    let port = busy.address().rsplit(':').next().unwrap().to_owned();
    let scratch = Scratch::new("options");
    let garbage = scratch.0.join("garbage.db");
    std::fs::write(&garbage, "this is not a database, however long one looks at it".repeat(100)).unwrap();
    let garbage = garbage.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 15] = [
        (&["--nothing"], 2, "--nothing"),
        (&["--port"], 2, "--port"),
        (&["--port", "65536"], 2, "65536"),
        (&["--port", "x"], 2, "--port"),
        (&["--auth", "maybe"], 2, "strict, any"),
        (&["--lease-ttl", "0"], 2, "--lease-ttl"),
        (&["--threads", "0"], 2, "--threads"),
        (&["--request-log", "-1"], 2, "-1"),
        (&["surplus"], 2, "surplus"),
        (&["--tls-ca", "ca.pem"], 2, "--tls"),
        (&["--max-streams", "-1"], 2, "-1"),
        (&["--tls", "--tls-ca", "/nothing/here/ca.pem"], 1, "/nothing/here/ca.pem"),
        (&["--port", &port], 1, &port),
        (&["--data", "/nothing/here/state.db"], 1, "/nothing/here/state.db"),
        (&["--data", garbage], 1, "garbage.db"),
    ];
    for (options, code, named) in cases {
        // `--port 0` comes first in `program`, and an option may be given once only.
        let mut command = Command::new(env!("CARGO_BIN_EXE_antenv-emulator"));
        if !options.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        let output = command.args(options).stdin(Stdio::null()).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{options:?}: {message}");
        assert_eq!((output.stdout.len(), message.lines().count()), (0, 1), "{options:?}: {message}");
        assert!(message.starts_with("antenv-emulator: ") && message.contains(named), "{options:?}: {message}");
    }
}

#[test]
fn help_lists_every_option() {
    let output = program(&["--help"]).output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    let options = "--host --port --data --auth --lease-ttl --request-log --threads --until-stdin-closes --verbose --version";
    for option in options.split(' ') {
        assert!(help.contains(option), "{option} is missing in:\n{help}");
    }
}

#[test]
fn verbose_writes_a_line_a_request_without_credentials() {
    let mut child = program(&["--verbose"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim().strip_prefix("http://").unwrap().to_owned();
    let headers = [VERSION, BETA, ("authorization", "Bearer hush")];
    let mut connection = Connection::open(&address);
    connection.call("GET", "/v1/environments?limit=3", &headers, None).unwrap().ok();
    connection.call("GET", "/v1/nothing", &headers, None).unwrap();
    child.kill().unwrap();
    let log = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].starts_with("200 GET /v1/environments?limit=3 environments.list "), "{log}");
    assert!(lines[1].starts_with("404 GET /v1/nothing "), "{log}");
    assert!(!log.contains("hush"));
}

#[test]
fn the_host_may_be_a_name_or_any_address() {
    for (host, shown) in [("localhost", "http://"), ("0.0.0.0", "http://127.0.0.1:")] {
        let emulator = Emulator::start_with(&["--host", host]);
        assert!(emulator.url.starts_with(shown), "{}", emulator.url);
        emulator.get("/_emulator/health").ok();
    }
}

#[test]
fn a_data_file_keeps_everything_across_an_orderly_restart() {
    let scratch = Scratch::new("restart");
    let file = scratch.0.join("state.db");
    let options = ["--data", file.to_str().unwrap()];
    let mut emulator = Emulator::start_with(&options);
    let queue = emulator.queue();
    let items = ["queued", "starting", "active", "stopping", "stopped"].map(|state| queue.item_in(state));
    let before: Vec<_> = items.iter().map(|id| queue.item(id).bytes).collect();
    let environment = emulator.get(&format!("/v1/environments/{}", queue.environment)).ok().bytes;
    let history = emulator.history("");
    let second = program(&options).output().unwrap();
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && message.contains("another process"), "{message}");
    emulator.signal("-TERM");
    assert_eq!(emulator.wait().code(), Some(0));

    let restarted = Emulator::start_with(&options);
    let queue = Queue { api: restarted.clone(), worker: restarted.with(&queue.worker.credential), ..queue };
    let after: Vec<_> = items.iter().map(|id| queue.item(id).bytes).collect();
    assert_eq!(after, before);
    assert_eq!(restarted.history(""), history);
    assert_eq!(restarted.get(&format!("/v1/environments/{}", queue.environment)).ok().bytes, environment);
    assert_eq!(queue.claim(), Some(items[0].clone()), "the key and the queue are there too");
}

#[test]
fn without_a_data_file_nothing_is_kept() {
    let directory = Scratch::new("memory");
    let mut command = program(&[]);
    let mut child = command.current_dir(&directory.0).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let mut connection = Connection::open(url.trim().strip_prefix("http://").unwrap());
    let headers = [VERSION, BETA, ("x-api-key", "k")];
    connection.call("POST", "/v1/environments", &headers, Some(br#"{"name":"n"}"#)).unwrap().ok();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn a_killed_emulator_has_kept_every_promise() {
    let scratch = Scratch::new("kill");
    let file = scratch.0.join("state.db");
    let options = ["--data", file.to_str().unwrap()];
    let mut promised = Vec::new();
    for round in 0..3 {
        let mut emulator = Emulator::start_with(&options);
        let made = Mutex::new(Vec::new());
        let killed = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..4 {
                let (client, made, killed) = (emulator.clone(), &made, &killed);
                scope.spawn(move || {
                    for number in 0.. {
                        let body = json!({"name": format!("{round}-{writer}-{number}"), "config": {"type": "self_hosted"}, "description": "x".repeat(2000)});
                        match client.try_call("POST", "/v1/environments", Some(body.to_string().as_bytes())) {
                            Ok(answer) => made.lock().unwrap().push(answer.ok().bytes),
                            Err(error) => {
                                assert!(killed.load(Ordering::SeqCst), "{error}");
                                break;
                            }
                        }
                    }
                });
            }
            until("there is something to lose", || made.lock().unwrap().len() > 100);
            killed.store(true, Ordering::SeqCst);
            emulator.signal("-KILL");
        });
        assert!(!emulator.wait().success());
        promised.extend(made.into_inner().unwrap());

        let restarted = Emulator::start_with(&options);
        for bytes in &promised {
            let object: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let found = restarted.get(&format!("/v1/environments/{}", object["id"].as_str().unwrap())).ok();
            assert_eq!(&found.bytes, bytes);
        }
        drop(restarted);
        let database = rusqlite::Connection::open(&file).unwrap();
        let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
    }
}

#[test]
fn the_library_starts_and_ends_inside_async_code_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let address = runtime.block_on(async {
        let config = antenv_emulator::Config { port: 0, ..Default::default() };
        let emulator = antenv_emulator::Emulator::start(config).unwrap();
        let address = emulator.url().strip_prefix("http://").unwrap().to_owned();
        Connection::open(&address).call("GET", "/_emulator/health", &[], None).unwrap().ok();
        emulator.shutdown();
        address
    });
    assert!(std::net::TcpStream::connect(address).is_err());
}
