//! What the peers share: the request, and the figures. Says the same as `measure.h` and `flight.c` do, in Rust.

pub mod certificate;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use nix::time::{ClockId, clock_gettime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const LONGEST: usize = 100_000;
/// Long enough for some hundred connections to be opened.
const WARM_UP: Duration = Duration::from_millis(500);

/// The command line: URL ENVIRONMENT_ID IN_FLIGHT SECONDS.
pub struct Options {
    pub url: String,
    pub in_flight: usize,
    time: Duration,
}

pub fn options() -> Result<Options> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [base, environment, in_flight, seconds] = &arguments[..] else {
        return Err("usage: URL ENVIRONMENT_ID IN_FLIGHT SECONDS".into());
    };
    let url = format!("{base}/v1/environments/{environment}");
    Ok(Options { url, in_flight: in_flight.parse()?, time: Duration::from_secs_f64(seconds.parse()?) })
}

/// TLS that trusts the CA in the file that SSL_CERT_FILE names. Who uses it says which protocols are offered.
pub fn tls() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
        roots.add(CertificateDer::from_pem_file(file)?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// hyper-util's client: hyper, a pool of connections, and TLS by rustls.
pub type Pooled = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// A client that speaks HTTP/2 where the server does.
pub fn client() -> Result<Pooled> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_all_versions().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The headers of each request, `host` excepted.
pub fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static("antenv/0.1.0")),
        (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2026-10-21")),
        (HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("managed-agents-2026-04-01")),
        (AUTHORIZATION, HeaderValue::from_static("Bearer an-api-key")),
    ])
}

/// The whole body, in memory of its own.
pub async fn read(mut body: Incoming) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(body.size_hint().lower() as usize);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// One of the calls in flight: each time one is over, the next begins.
pub trait Slot: Send + 'static {
    /// Returns the status and the body.
    fn get(&mut self) -> impl Future<Output = Result<(u16, Vec<u8>)>> + Send;
}

/// How many calls took that many microseconds, while `counting`.
struct Counts {
    counting: AtomicBool,
    calls: Vec<AtomicU32>,
}

/// Runs the slots on the current thread's runtime, one task each, and prints the figures.
pub async fn measure(options: &Options, slots: Vec<impl Slot>) {
    // Zeroed by the system, not written: only the entries that are used take memory.
    let calls = vec![0u32; LONGEST].into_iter().map(AtomicU32::new).collect();
    let counts = Arc::new(Counts { counting: AtomicBool::new(false), calls });
    for slot in slots {
        tokio::spawn(work(slot, counts.clone()));
    }
    tokio::time::sleep(WARM_UP).await;
    let stopwatch = Stopwatch::start();
    counts.counting.store(true, Relaxed);
    tokio::time::sleep(options.time).await;
    let (wall, cpu) = stopwatch.stop();
    report(&counts.calls, wall, cpu);
}

async fn work(mut slot: impl Slot, counts: Arc<Counts>) {
    let mut begun = Instant::now();
    loop {
        match slot.get().await {
            Ok((200, body)) if body.first() == Some(&b'{') => drop(body),
            Ok((status, _)) => fail(&format!("no environment: {status}")),
            Err(error) => fail(&error.to_string()),
        }
        // The end of one call is the beginning of the next.
        let now = Instant::now();
        if counts.counting.load(Relaxed) {
            let took = (now - begun).as_micros() as usize;
            counts.calls[took.min(LONGEST - 1)].fetch_add(1, Relaxed);
        }
        begun = now;
    }
}

fn fail(what: &str) -> ! {
    eprintln!("{what}");
    std::process::exit(1)
}

/// Takes the time that passes, and the CPU time that the process uses meanwhile.
pub struct Stopwatch(Instant, Duration);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now(), cpu())
    }

    /// Returns both.
    pub fn stop(self) -> (Duration, Duration) {
        (self.0.elapsed(), cpu() - self.1)
    }
}

/// The process's CPU time so far.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}

fn report(calls: &[AtomicU32], wall: Duration, cpu: Duration) {
    let total: u64 = calls.iter().map(|calls| u64::from(calls.load(Relaxed))).sum();
    if total == 0 {
        fail("no calls");
    }
    let percentile = |hundredths: u64| {
        let mut seen = 0;
        calls.iter().position(|calls| {
            seen += u64::from(calls.load(Relaxed));
            seen * 100 >= total * hundredths
        })
    };
    println!(
        r#"{{"rps":{:.0},"cpu_us":{:.2},"p50_us":{},"p99_us":{},"rss_kb":{}}}"#,
        total as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / total as f64,
        percentile(50).unwrap_or(0),
        percentile(99).unwrap_or(0),
        peak_memory()
    );
}

/// The most memory the process has had, in KB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let figure = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
    figure.unwrap_or(0)
}
