//! The Environments API on localhost, for development and tests.
//!
//! ```no_run
//! use antenv_emulator::{Config, Emulator};
//!
//! let emulator = Emulator::start(Config { port: 0, ..Config::default() })?;
//! println!("{}", emulator.url());
//! emulator.shutdown();
//! # Ok::<(), antenv_emulator::StartError>(())
//! ```
//!
//! Where to look:
//!
//! | folder | what is in it |
//! |---|---|
//! | `http` | sockets, TLS, a connection in HTTP/1.1 or HTTP/2 (`server`, `connection`, `http1`, `http2`); what goes back (`response`, `body`) |
//! | `api` | the path of a request (`handler`), the table of operations (`route`), who may do what (`auth`), the operations |
//! | `model` | the life of a work item, pure (`work_item`); `work_queue` applies it to the `store` and keeps the `history`. A `session` changes, its `agent` plays a `script`, and its `call`s are answered. Memories, and archives of skills |
//! | `control` | what tests do behind the API's back: its endpoints, `faults` (with `holds` and `latency`), `scripts`, the `request_log`; `browser_guard` keeps web pages out |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod control;
mod http;
mod model;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::watch};
use tokio_rustls::TlsAcceptor;

pub use api::auth::Auth;
use control::{faults, holds, request_log, scripts};
use http::{server, tls};
use model::{clock, event, store, work_queue};

/// An emulator's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name or address to listen on.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// More names by which `/_emulator/` may be called. Addresses, `localhost` and `host` always may.
    pub allow_hosts: Vec<String>,
    /// Serve over TLS.
    pub tls: Option<Tls>,
    /// How many requests a client may have in flight on one HTTP/2 connection (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub max_streams: u32,
    /// The file that keeps the state; without one it lives in memory.
    pub data: Option<PathBuf>,
    /// How strictly credentials are checked.
    pub auth: Auth,
    /// For how many seconds a heartbeat extends a lease, unless it requests another time.
    pub lease_ttl: u32,
    /// Answer the heartbeat of a lease that ran out, while no poll has handed its item out again, with `lease_extended: false` and
    /// the state `stopped`, rather than with 412.
    pub lapsed_leases_answer_stopped: bool,
    /// After how many milliseconds without an event a stream sends a ping.
    pub ping_interval_ms: u64,
    /// How many requests the log keeps.
    pub request_log: usize,
    /// The number of threads that serve requests.
    pub threads: usize,
    /// Write one line a request to standard error.
    pub verbose: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            host: "127.0.0.1".to_owned(),
            port: 8787,
            allow_hosts: Vec::new(),
            tls: None,
            max_streams: 100,
            data: None,
            auth: Auth::Strict,
            lease_ttl: 300,
            lapsed_leases_answer_stopped: false,
            ping_interval_ms: 10_000,
            request_log: 10_000,
            threads: 2,
            verbose: false,
        }
    }
}

/// Settings of TLS. It is served with a certificate for `localhost`, `127.0.0.1`, `::1` and the host listened on, of an authority made
/// at start.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Where the authority's certificate is written (PEM), for clients to trust it; without one, to a temporary file that is gone in the
    /// end (on Linux in memory, readable by the same user only).
    pub ca_file: Option<PathBuf>,
}

/// Why an emulator did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be used.
    Listen {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
    /// The data file cannot be used.
    Data {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates cannot be made.
    Tls(String),
    /// Threads cannot be started.
    Threads(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen { host, port, source } => write!(f, "cannot listen on {host} port {port}: {source}"),
            StartError::Data { file, reason } => write!(f, "cannot use the data file {}: {reason}", file.display()),
            StartError::Tls(reason) => f.write_str(reason),
            StartError::Threads(source) => write!(f, "cannot start threads: {source}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running emulator, on threads of its own. Dropping it ends it.
pub struct Emulator {
    app: Arc<App>,
    runtime: Option<Runtime>,
    ca_file: Option<tls::CaFile>,
    finished: mpsc::Receiver<()>,
}

impl Emulator {
    /// Starts an emulator. It accepts connections when this returns. May be called from anywhere, async code included.
    pub fn start(config: Config) -> Result<Emulator, StartError> {
        let listen_error = |source| StartError::Listen { host: config.host.clone(), port: config.port, source };
        let store = store::Store::open(config.data.as_deref())
            .map_err(|reason| StartError::Data { file: config.data.clone().unwrap_or_default(), reason })?;
        let listener = server::listen(&config.host, config.port).map_err(listen_error)?;
        let tls = config.tls.as_ref().map(|wanted| tls::acceptor(&config.host, wanted.ca_file.as_deref()));
        let (tls, ca_file) = tls.transpose().map_err(StartError::Tls)?.unzip();
        let url = server::url(&listener, if tls.is_some() { "https" } else { "http" }).map_err(listen_error)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("antenv-emulator")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(listen_error)?
        };
        let app = Arc::new(App {
            log: request_log::RequestLog::new(config.request_log),
            max_streams: AtomicU32::new(config.max_streams),
            lapsed_leases_answer_stopped: AtomicBool::new(config.lapsed_leases_answer_stopped),
            streams: event::Streams::default(),
            config,
            url,
            tls,
            store,
            clock: clock::Clock::default(),
            waiters: work_queue::Waiters::default(),
            faults: faults::Faults::default(),
            holds: holds::Holds::default(),
            polls_waiting: AtomicUsize::new(0),
            connections_open: AtomicUsize::new(0),
            connections_total: AtomicU64::new(0),
            connections_silent: AtomicUsize::new(0),
            requests_open: AtomicUsize::new(0),
            silence: watch::Sender::new(0),
            stop: watch::Sender::new(false),
        });
        let (finish, finished) = mpsc::channel();
        let serving = app.clone();
        runtime.spawn(async move {
            // What cannot be resumed is a defect of the data; requests will say so.
            let _ = scripts::resume(&serving);
            server::run(serving, listener).await;
            let _ = finish.send(());
        });
        Ok(Emulator { app, runtime: Some(runtime), ca_file, finished })
    }

    /// The base URL, such as `http://127.0.0.1:8787`, with `https` over TLS.
    pub fn url(&self) -> &str {
        &self.app.url
    }

    /// The file with the certificate of the authority that clients have to trust; nothing without TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_ref().map(tls::CaFile::path)
    }

    /// Ends the emulator: requests in flight are finished (held polls immediately, with nothing), connections are closed. It takes about
    /// a second at most.
    pub fn shutdown(self) {}
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.app.stop.send_replace(true);
        let _ = self.finished.recv_timeout(Duration::from_secs(3));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Everything that the handlers share.
struct App {
    config: Config,
    url: String,
    tls: Option<TlsAcceptor>,
    store: store::Store,
    clock: clock::Clock,
    waiters: work_queue::Waiters,
    faults: faults::Faults,
    holds: holds::Holds,
    log: request_log::RequestLog,
    /// The open streams of sessions.
    streams: event::Streams,
    lapsed_leases_answer_stopped: AtomicBool,
    polls_waiting: AtomicUsize,
    connections_open: AtomicUsize,
    connections_total: AtomicU64,
    connections_silent: AtomicUsize,
    requests_open: AtomicUsize,
    /// How many streams the connections from now on allow.
    max_streams: AtomicU32,
    /// Changes when all connections are to fall silent; the number of the one that requested it.
    silence: watch::Sender<u64>,
    stop: watch::Sender<bool>,
}

impl App {
    /// Returns once the emulator is ending.
    async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    fn connections(&self) -> Value {
        json!({
            "open": self.connections_open.load(Ordering::SeqCst),
            "total": self.connections_total.load(Ordering::SeqCst),
            "requests_open": self.requests_open.load(Ordering::SeqCst),
            "polls_waiting": self.polls_waiting.load(Ordering::SeqCst),
            "streams_open": self.streams.total(),
            "silent": self.connections_silent.load(Ordering::SeqCst),
            "max_streams": self.max_streams(),
        })
    }

    fn max_streams(&self) -> u32 {
        self.max_streams.load(Ordering::SeqCst)
    }

    /// Forgets everything, wakes polls that wait, and releases held requests.
    fn reset(&self) -> Result<(), rusqlite::Error> {
        self.store.clear()?;
        self.faults.clear();
        self.holds.release(None);
        self.log.clear();
        self.clock.set_offset(0);
        self.max_streams.store(self.config.max_streams, Ordering::SeqCst);
        self.lapsed_leases_answer_stopped.store(self.config.lapsed_leases_answer_stopped, Ordering::SeqCst);
        self.streams.announce_all();
        self.waiters.clear();
        self.waiters.wake_all();
        Ok(())
    }
}
