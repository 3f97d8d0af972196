//! Starting the program and talking to it. The HTTP client is a few lines over a socket, because half of the tests are about
//! what a real client hides: stale connections, replies cut short, the bytes themselves.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    ops::{Deref, Index},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Long enough for the slowest machine; only a failing test waits for it.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The two headers that every request carries.
pub const VERSION: (&str, &str) = ("anthropic-version", "2026-10-21");
pub const BETA: (&str, &str) = ("anthropic-beta", "managed-agents-2026-04-01");

/// A running emulator, killed when dropped. It derefs to a client with an API key.
pub struct Emulator {
    child: Child,
    stdout: BufReader<ChildStdout>,
    client: Client,
    /// What to trust, with `--tls`.
    pub ca_file: Option<PathBuf>,
    /// Its folder for temporary files.
    temporary: Scratch,
}

impl Emulator {
    pub fn start() -> Emulator {
        Emulator::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> Emulator {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let temporary = Scratch::new(&format!("temporary-{}", STARTED.fetch_add(1, Ordering::SeqCst)));
        let mut program = program(options);
        program.env("TMPDIR", &temporary.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim_end().to_owned();
        assert!(url.starts_with("http"), "the first line is the URL, not {line:?}");
        let ca_file = options.contains(&"--tls").then(|| {
            line.clear();
            stdout.read_line(&mut line).unwrap();
            PathBuf::from(line.trim_end())
        });
        Emulator { child, stdout, client: Client { url, credential: "an-api-key".to_owned() }, ca_file, temporary }
    }

    /// The files in its folder for temporary files.
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        self.temporary.0.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Takes the other end of its standard input, which closes when it is dropped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What the program has written after the URL, once it has ended.
    pub fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < TIMEOUT, "the emulator does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Deref for Emulator {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, on a free port.
pub fn program(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antenv-emulator"));
    command.args(["--port", "0"]).args(options);
    command
}

/// A directory that is removed in the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let directory = std::env::temp_dir().join(format!("antenv-emulator-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Scratch(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until a condition holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < TIMEOUT, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A reply.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub bytes: Vec<u8>,
    /// The body as JSON, `Null` if it is none.
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The reply, once it is sure that all went well.
    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    /// Checks a refusal: its status, its type and its code (empty: none).
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str, code: &str) {
        let error = &self.body["error"];
        let found = (self.status, &error["type"], error["details"]["error_code"].as_str().unwrap_or(""));
        assert_eq!(found, (status, &json!(kind), code), "{}", self.text());
        assert_eq!(self.body["type"], "error");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.text());
        assert_eq!(self.body["request_id"].as_str(), self.header("request-id"));
        assert_eq!(self.header("content-type"), Some("application/json"));
    }

    /// A field that is a string.
    #[track_caller]
    pub fn string(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.text())).to_owned()
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        &self.body[key]
    }
}

/// Where requests go, and with which credential. Each request takes a connection of its own.
#[derive(Clone)]
pub struct Client {
    pub url: String,
    pub credential: String,
}

impl Client {
    pub fn with(&self, credential: &str) -> Client {
        Client { url: self.url.clone(), credential: credential.to_owned() }
    }

    pub fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    pub fn headers(&self) -> Vec<(&str, String)> {
        vec![
            (VERSION.0, VERSION.1.to_owned()),
            (BETA.0, BETA.1.to_owned()),
            ("authorization", format!("Bearer {}", self.credential)),
        ]
    }

    pub fn call(&self, method: &str, target: &str, body: Option<&[u8]>) -> Answer {
        self.try_call(method, target, body).unwrap()
    }

    pub fn try_call(&self, method: &str, target: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let headers = self.headers();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Connection::try_open(self.address())?.call(method, target, &headers, body)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.call("GET", target, None)
    }

    pub fn post(&self, target: &str, body: Value) -> Answer {
        self.call("POST", target, Some(body.to_string().as_bytes()))
    }

    /// A POST without a body.
    pub fn poke(&self, target: &str) -> Answer {
        self.call("POST", target, None)
    }

    pub fn delete(&self, target: &str) -> Answer {
        self.call("DELETE", target, None)
    }

    // What most tests begin with.

    /// A self-hosted environment's id.
    pub fn hosted(&self) -> String {
        self.post("/v1/environments", json!({"name": "hosted", "config": {"type": "self_hosted"}})).ok().string("id")
    }

    /// A self-hosted environment, and a client with a key of it.
    pub fn queue(&self) -> Queue {
        let environment = self.hosted();
        let worker = self.worker(&environment);
        Queue { api: self.clone(), worker, path: format!("/v1/environments/{environment}/work"), environment }
    }

    /// A client with a new key of this environment.
    pub fn worker(&self, environment: &str) -> Client {
        let issued = self.post("/_emulator/environment_keys", json!({"environment_id": environment})).ok();
        self.with(&issued.string("environment_key"))
    }

    pub fn fault(&self, fault: Value) {
        self.post("/_emulator/faults", fault).ok();
    }

    pub fn advance(&self, millis: i64) {
        self.post("/_emulator/clock", json!({"advance_ms": millis})).ok();
    }

    pub fn requests(&self) -> Vec<Value> {
        self.get("/_emulator/requests").ok()["data"].as_array().unwrap().clone()
    }

    /// What happened to work items; the query may be empty.
    pub fn history(&self, query: &str) -> Vec<Value> {
        self.get(&format!("/_emulator/history{query}")).ok()["data"].as_array().unwrap().clone()
    }

    pub fn polls_waiting(&self) -> u64 {
        self.get("/_emulator/connections").ok()["polls_waiting"].as_u64().unwrap()
    }
}

/// The work queue of one environment.
#[derive(Clone)]
pub struct Queue {
    /// With an API key.
    pub api: Client,
    /// With an environment key.
    pub worker: Client,
    pub environment: String,
    /// `/v1/environments/…/work`
    pub path: String,
}

impl Queue {
    pub fn enqueue(&self) -> String {
        self.api.post("/_emulator/work", json!({"environment_id": self.environment})).ok().string("id")
    }

    pub fn enqueue_many(&self, count: usize) {
        self.api.post("/_emulator/work", json!({"environment_id": self.environment, "count": count})).ok();
    }

    pub fn poll(&self, query: &str) -> Answer {
        self.worker.get(&format!("{}/poll{query}", self.path))
    }

    /// Polls without waiting, as a worker with a name.
    pub fn poll_as(&self, worker_id: &str) -> Answer {
        let headers = self.worker.headers();
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("Anthropic-Worker-ID", worker_id));
        self.worker.connect().call("GET", &format!("{}/poll", self.path), &headers, None).unwrap().ok()
    }

    /// The same queue, worked on with the token of an item.
    pub fn with_token_of(&self, item: &Answer) -> Queue {
        let secret = decode(&item.string("secret"));
        Queue { worker: self.api.with(secret["sessions_token"].as_str().unwrap()), ..self.clone() }
    }

    /// Polls without waiting; the id of what came.
    pub fn claim(&self) -> Option<String> {
        self.poll("").ok()["id"].as_str().map(str::to_owned)
    }

    pub fn item(&self, id: &str) -> Answer {
        self.api.get(&format!("{}/{id}", self.path)).ok()
    }

    pub fn state(&self, id: &str) -> String {
        self.item(id).string("state")
    }

    pub fn ack(&self, id: &str) -> Answer {
        self.worker.poke(&format!("{}/{id}/ack", self.path))
    }

    pub fn beat(&self, id: &str, query: &str) -> Answer {
        self.worker.poke(&format!("{}/{id}/heartbeat{query}", self.path))
    }

    pub fn stop(&self, id: &str, body: Value) -> Answer {
        self.worker.post(&format!("{}/{id}/stop", self.path), body)
    }

    pub fn stats(&self) -> Answer {
        self.worker.get(&format!("{}/stats", self.path)).ok()
    }

    /// A fresh item, brought into a state.
    pub fn item_in(&self, state: &str) -> String {
        let id = self.enqueue();
        let steps = match state {
            "queued" => 0,
            "starting" => 1,
            "active" => 2,
            _ => 3,
        };
        if steps >= 1 {
            self.ack(&id).ok();
        }
        if steps >= 2 {
            self.beat(&id, "").ok();
        }
        if steps >= 3 {
            self.stop(&id, json!({"force": state == "stopped"})).ok();
        }
        assert_eq!(self.state(&id), state);
        id
    }
}

/// So soon a poll of 999 ms ends only if it is woken. A busy machine may be late: tests try again until it is not.
pub const LONG_BEFORE_ITS_END: Duration = Duration::from_millis(700);

/// Does something while polls wait; what they are answered, and how long after the deed the last of them is.
pub fn held_polls(queue: &Queue, count: usize, query: &str, deed: impl FnOnce()) -> (Vec<Answer>, Duration) {
    let first_try = Instant::now();
    while first_try.elapsed() < TIMEOUT {
        let (sender, answers) = mpsc::channel();
        for _ in 0..count {
            let (sender, queue, query) = (sender.clone(), queue.clone(), query.to_owned());
            thread::spawn(move || sender.send(queue.poll(&query)));
        }
        let mut early = Vec::new();
        // On a machine so slow that a poll is over before all of them wait: once more.
        while early.is_empty() && queue.api.polls_waiting() < count as u64 {
            early.extend(answers.try_recv());
        }
        if early.is_empty() {
            let start = Instant::now();
            deed();
            let answers = answers.iter().take(count).collect();
            return (answers, start.elapsed());
        }
        answers.iter().take(count - 1).for_each(drop);
    }
    panic!("{count} polls never wait at the same time");
}

/// A connection on which a poll waits.
pub fn hold_poll(queue: &Queue) -> Connection {
    let headers = queue.worker.headers();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        let mut connection = queue.worker.connect();
        connection.send("GET", &format!("{}/poll?block_ms=999", queue.path), &headers, None).unwrap();
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_millis(800) {
            if queue.api.polls_waiting() == 1 {
                return connection;
            }
        }
        connection.receive().unwrap().ok();
    }
    panic!("no poll ever waits");
}

/// The keys of an object in the order in which they are written.
pub fn keys(object: &str) -> Vec<String> {
    let object: indexmap::IndexMap<String, serde::de::IgnoredAny> = serde_json::from_str(object).unwrap();
    object.into_keys().collect()
}

/// The part of a query that echoes a heartbeat.
pub fn expecting(last_heartbeat: &str) -> String {
    format!("?expected_last_heartbeat={}", last_heartbeat.replace('+', "%2B").replace(':', "%3A"))
}

/// What a secret says. Base64 by hand, so that the emulator's own library does not vouch for itself.
pub fn decode(text: &str) -> Value {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for symbol in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == symbol).unwrap() as u32;
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

/// One TCP connection.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Closes the connection, and returns when the emulator's kernel has the FIN: packets of other connections may overtake it.
    pub fn close(self) {
        let port = format!(":{:04X}", self.0.get_ref().local_addr().unwrap().port());
        drop(self);
        until("the FIN is there", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let mut rows = table.lines().map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
            // The emulator's end: the remote port is ours, and 01 is ESTABLISHED.
            !rows.any(|row| row[2].ends_with(&port) && row[3] == "01")
        });
    }

    pub fn open(address: &str) -> Connection {
        Connection::try_open(address).unwrap()
    }

    pub fn try_open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Connection(BufReader::new(stream)))
    }

    pub fn call(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> io::Result<Answer> {
        self.send(method, target, headers, body)?;
        self.receive()
    }

    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> io::Result<()> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if body.is_some() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.unwrap_or_default().len()));
        }
        head.push_str("\r\n");
        self.write(&[head.as_bytes(), body.unwrap_or_default()].concat())
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Reads one reply; an error when it is cut short.
    pub fn receive(&mut self) -> io::Result<Answer> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let status_line = self.line()?;
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status: u16 = status.and_then(|status| status.parse().ok()).ok_or_else(|| bad("not HTTP"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").ok_or_else(|| bad("not a header"))?;
            headers.push((name.to_owned(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, headers, bytes, body })
    }

    /// Reads one chunk of a chunked body; `None` at its end, an error when it is cut short.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, size))?;
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes)?;
        self.line()?;
        Ok((size > 0).then_some(bytes))
    }

    /// Everything until the connection ends; an error when it is reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Checks that nothing comes for a while, and no end either.
    #[track_caller]
    pub fn is_silent(&mut self) {
        self.0.get_ref().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert_eq!(self.0.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// Sends nothing more, but goes on listening.
    pub fn finish_writing(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
