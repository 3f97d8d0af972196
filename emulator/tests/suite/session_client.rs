//! A session as a test sees it: its events, its calls and its streams.

use std::io;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Connection};

/// A session, and the client that looks at it.
pub struct Session {
    pub client: Client,
    pub environment: String,
    pub id: String,
    /// `/v1/sessions/…`
    pub path: String,
}

impl Session {
    /// A session that is there.
    pub fn of(client: &Client, id: &str) -> Session {
        let path = format!("/v1/sessions/{id}");
        let environment = client.get(&path).ok().string("environment_id");
        Session { client: client.clone(), environment, id: id.to_owned(), path }
    }

    /// A new session of a new environment.
    pub fn new(client: &Client) -> Session {
        Session::with_agent(client, &json!("agent_1"))
    }

    /// The same with this agent.
    pub fn with_agent(client: &Client, agent: &Value) -> Session {
        let body = json!({"agent": agent, "environment_id": client.hosted()});
        Session::of(client, &client.post("/v1/sessions", body).ok().string("id"))
    }

    /// A new session whose agent has taken these steps, as far as it could.
    pub fn with_steps(client: &Client, steps: Value) -> Session {
        let session = Session::new(client);
        session.script(steps);
        session
    }

    /// Adds steps; what the report says.
    pub fn script(&self, steps: Value) -> Answer {
        self.client.post("/_emulator/scripts", json!({"session_id": self.id, "steps": steps})).ok()
    }

    pub fn report(&self) -> Value {
        self.client.get(&format!("/_emulator/scripts?session_id={}", self.id)).ok()["data"][0].clone()
    }

    /// The calls of the report.
    pub fn calls(&self) -> Vec<Value> {
        self.report()["calls"].as_array().unwrap().clone()
    }

    /// The calls, each with one member.
    pub fn each(&self, member: &str) -> Vec<String> {
        self.calls().iter().map(|call| format!("{} {}", text(&call["label"]), text(&call[member]))).collect()
    }

    pub fn list(&self, query: &str) -> Answer {
        self.client.get(&format!("{}/events{query}", self.path))
    }

    pub fn events(&self) -> Vec<Value> {
        self.list("?limit=1000").ok()["data"].as_array().unwrap().clone()
    }

    pub fn types(&self) -> Vec<String> {
        types(&self.events())
    }

    pub fn send(&self, events: Value) -> Answer {
        self.client.post(&format!("{}/events", self.path), json!({"events": events}))
    }

    pub fn say(&self, what: &str) -> Answer {
        self.send(json!([{"type": "user.message", "content": [{"type": "text", "text": what}]}]))
    }

    pub fn interrupt(&self) {
        self.send(json!([{"type": "user.interrupt"}])).ok();
    }

    pub fn confirm(&self, call: &Value, result: &str) -> Answer {
        self.send(json!([{"type": "user.tool_confirmation", "tool_use_id": call["id"], "result": result}]))
    }

    /// Answers a call as its kind wants it.
    pub fn answer(&self, call: &Value) -> Answer {
        self.send(json!([result(call)]))
    }

    pub fn stream(&self, query: &str) -> Stream {
        Stream::open(&self.client, &format!("{}/events/stream{query}", self.path)).unwrap()
    }
}

/// The event that answers a call.
pub fn result(call: &Value) -> Value {
    let content = json!([{"type": "text", "text": format!("result of {}", text(&call["label"]))}]);
    match call["type"].as_str().unwrap() {
        "agent.tool_use" => json!({"type": "user.tool_result", "tool_use_id": call["id"], "content": content}),
        _ => json!({"type": "user.custom_tool_result", "custom_tool_use_id": call["id"], "content": content}),
    }
}

pub fn types(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| text(&event["type"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An open stream.
pub struct Stream {
    connection: Connection,
    unread: Vec<u8>,
    pub content_type: String,
    /// The sizes of the chunks that came.
    pub chunks: Vec<usize>,
}

/// How a stream went on.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// A frame: its name and its data.
    Event(String, Value),
    /// The end, as it should be.
    End,
    /// The end of the connection, and what had come of a frame.
    Cut(String),
}

impl Stream {
    pub fn open(client: &Client, target: &str) -> io::Result<Stream> {
        let headers = client.headers();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut connection = client.connect();
        let head = connection.call("GET", target, &headers, None)?;
        assert_eq!(head.status, 200, "{}", head.text());
        let content_type = head.header("content-type").unwrap_or_default().to_owned();
        Ok(Stream { connection, unread: Vec::new(), content_type, chunks: Vec::new() })
    }

    pub fn next(&mut self) -> Frame {
        loop {
            if let Some(end) = self.unread.windows(2).position(|bytes| bytes == b"\n\n") {
                let frame = String::from_utf8(self.unread.drain(..end + 2).collect()).unwrap();
                let (name, data) = frame.strip_prefix("event: ").and_then(|rest| rest.split_once("\ndata: ")).unwrap();
                return Frame::Event(name.to_owned(), serde_json::from_str(data).unwrap());
            }
            match self.connection.chunk() {
                Ok(Some(chunk)) => {
                    self.chunks.push(chunk.len());
                    self.unread.extend(chunk);
                }
                Ok(None) => return Frame::End,
                Err(_) => return Frame::Cut(String::from_utf8(self.unread.clone()).unwrap()),
            }
        }
    }

    /// The next event that is no ping.
    #[track_caller]
    pub fn event(&mut self) -> Value {
        loop {
            match self.next() {
                Frame::Event(name, data) if name != "ping" => {
                    assert_eq!(data["type"], name.as_str());
                    return data;
                }
                Frame::Event(..) => {}
                end => panic!("no event but {end:?}"),
            }
        }
    }

    /// The next events, up to one of this type.
    #[track_caller]
    pub fn until(&mut self, last: &str) -> Vec<Value> {
        let mut events = vec![self.event()];
        while events.last().unwrap()["type"] != last {
            events.push(self.event());
        }
        events
    }

    #[track_caller]
    pub fn is_silent(&mut self) {
        assert_eq!(self.unread, b"");
        self.connection.is_silent();
    }
}
