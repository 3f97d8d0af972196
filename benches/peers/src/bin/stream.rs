//! hyper, reading a session's events: splits the body at blank lines, and copies each event's data. Prints its figures as `stream.c` does.

use antenv_bench_peers::{Result, Stopwatch, client, headers};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::{ACCEPT, HeaderValue};
use memchr::memmem::Finder;
use std::time::SystemTime;

const DATA: &str = "data: ";
const ID: &str = r#"{"id":""#;

/// Calls `take` with the data of each event of the session's stream.
async fn read(base: &str, session: &str, mut take: impl FnMut(String)) -> Result<()> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = format!("{base}/v1/sessions/{session}/events/stream").parse()?;
    *request.headers_mut() = headers();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let mut body = client()?.request(request).await?.into_body();
    let (blank, data) = (Finder::new("\n\n"), Finder::new(DATA));
    let mut unread = Vec::new();
    while let Some(part) = body.frame().await {
        let Ok(part) = part?.into_data() else { continue };
        unread.extend_from_slice(&part);
        let mut at = 0;
        while let Some(length) = blank.find(&unread[at..]) {
            let frame = &unread[at..at + length];
            let begin = data.find(frame).ok_or("an event has no data")? + DATA.len();
            take(String::from_utf8(frame[begin..].to_vec())?);
            at += length + 2;
        }
        unread.drain(..at);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [base, many, paced] = &arguments[..] else { return Err("usage: stream URL EVENTS PACED_EVENTS".into()) };
    read(base, "flood-100", drop).await?; // to warm up
    let (mut count, stopwatch) = (0u64, Stopwatch::start());
    read(base, &format!("flood-{many}"), |event| count += u64::from(event.starts_with(ID))).await?;
    let (wall, cpu) = stopwatch.stop();
    let mut late = Vec::new();
    read(base, &format!("paced-{paced}"), |event| {
        let sent = event[ID.len()..].split('"').next().and_then(|id| id.parse().ok()).unwrap_or(0);
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
        late.push(now.saturating_sub(sent));
    })
    .await?;
    if many.parse() != Ok(count) || paced.parse() != Ok(late.len()) {
        return Err(format!("{count} and {} events came", late.len()).into());
    }
    late.sort_unstable();
    println!(
        r#"{{"events_s":{:.0},"cpu_event_us":{:.3},"late_p50_us":{:.1},"late_p99_us":{:.1}}}"#,
        count as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        late[late.len() / 2] as f64 / 1e3,
        late[late.len() * 99 / 100] as f64 / 1e3,
    );
    Ok(())
}
