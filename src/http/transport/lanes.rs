//! Which connection a request uses, and when a connection is abandoned.
//!
//! A lane is a reqwest client with its own pool. With HTTP/2 the pool has one connection; with HTTP/1.1 it has one for each request in
//! flight, so one lane is enough. A request uses the first lane with room, or a new lane if there is none. So it does not wait when a
//! connection has no free streams.
//!
//! A connection can die silently: a load balancer forgets it, a cable is cut. A lane on which a request got no response is retired: its
//! requests in flight may still finish, but it gets no new ones, because its other connections may be dead too.

use super::AttemptError;
use super::connector::{ATTEMPT, ConnectLayer, Target};
use super::names::Names;
use super::relay::Relay;
use bytes::Bytes;
use reqwest::{Body, Proxy, redirect, retry};
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

/// How many requests are sent over one HTTP/2 connection at a time. Few servers allow less than a hundred.
pub const MAX_STREAMS: usize = 100;
/// How long a request waits for its connection to accept it before it tries another lane. With room, accepting takes far less.
const STALL_TIMEOUT: Duration = Duration::from_millis(50);
/// How often a request yields to the runtime's other tasks before it counts as stalled.
const STALL_YIELDS: usize = 16;

/// How much of a stream or download an HTTP/2 connection keeps unread. A connection has room for that of all its requests.
pub const STREAM_WINDOW: u32 = 256 << 10;

/// How long an idle connection is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How many idle connections are kept.
const POOL_MAX_IDLE: usize = 1024;
/// The interval and number of TCP keepalive probes.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent data may stay unacknowledged by the peer's system.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// The interval and timeout of HTTP/2 keepalive pings.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The lanes for one kind of requests.
pub struct Lanes {
    target: Arc<Target>,
    /// The window of each request over HTTP/2 in bytes; `None`: the usual one.
    window: Option<u32>,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

struct Lane {
    client: reqwest::Client,
    connector: ConnectLayer,
    in_flight: AtomicUsize,
    /// How many of those the connections are sending or have sent.
    on_the_wire: AtomicUsize,
    is_retired: AtomicBool,
    /// Whether it reaches the proxy through the target's relay.
    has_relay: bool,
}

impl Lanes {
    /// Makes the first lane. Returns an error if reqwest rejects the configuration.
    pub fn new(target: Arc<Target>, window: Option<u32>) -> Result<Lanes, String> {
        let lanes = Lanes { target, window, lanes: Mutex::default() };
        lanes.lanes().push(lanes.open()?);
        Ok(lanes)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<Arc<Lane>, String> {
        let target = &self.target;
        let relay = target.relay.get();
        let connector = ConnectLayer::new(target.clone());
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(target.tls.clone())
            .dns_resolver(Arc::new(Names))
            .redirect(redirect::Policy::none())
            .referer(false)
            // With a maximum of 0 reqwest makes no copy of each request.
            .retry(retry::never().max_retries_per_request(0))
            .connect_timeout(target.connect_timeout)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(KEEPALIVE_RETRIES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_MAX_IDLE)
            .connector_layer(connector.clone());
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        {
            builder = builder.tcp_user_timeout(USER_TIMEOUT);
        }
        builder = match &target.proxy {
            // The proxy was chosen when the client was made.
            None => builder.no_proxy(),
            Some(proxy) => {
                let url = relay.map_or(proxy.url.expose(), Relay::url);
                builder.proxy(Proxy::all(url).map_err(|_| "the proxy's URL is not valid".to_owned())?)
            }
        };
        if let Some(window) = self.window {
            builder = builder
                .http2_initial_stream_window_size(window)
                .http2_initial_connection_window_size(window * MAX_STREAMS as u32);
        }
        if target.requires_http2 {
            builder = builder.http2_prior_knowledge();
        }
        let client = builder.build().map_err(|error| super::causes(&error))?;
        let (in_flight, on_the_wire) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (is_retired, has_relay) = (AtomicBool::new(false), relay.is_some());
        Ok(Arc::new(Lane { client, connector, in_flight, on_the_wire, is_retired, has_relay }))
    }

    /// Returns a lane with room for one more request.
    fn pick(&self) -> Result<Arc<Lane>, String> {
        let mut lanes = self.lanes();
        lanes.retain(|lane| !lane.is_retired.load(SeqCst));
        let with_room = if self.target.is_http1.load(Relaxed) {
            // There are several lanes if the protocol was not known at first. All their connections are used.
            lanes.iter().min_by_key(|lane| lane.in_flight.load(SeqCst))
        } else {
            let max = self.target.max_streams.load(Relaxed);
            lanes.iter().find(|lane| lane.in_flight.load(SeqCst) < max)
        };
        if let Some(lane) = with_room {
            return Ok(lane.clone());
        }
        let lane = self.open()?;
        lanes.push(lane.clone());
        Ok(lane)
    }

    /// Runs one exchange on a lane until `deadline`, or on another lane if the first turns out to have no room.
    pub async fn run<T, F>(
        &self,
        deadline: Instant,
        exchange: impl Fn(reqwest::Client, Arc<Progress>) -> F,
    ) -> Result<T, AttemptError>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        let started_at = Instant::now();
        'lane: loop {
            let lane = self.pick().map_err(AttemptError::Connect)?;
            let progress = Progress::new(self.target.clone(), lane.clone());
            let mut exchange = pin!(ATTEMPT.scope((), exchange(lane.client.clone(), progress.clone())));
            let is_alone = self.target.is_http1.load(Relaxed) || lane.in_flight.load(SeqCst) == 1;
            let mut timer = pin!(sleep_until(if is_alone { deadline } else { deadline.min(Instant::now() + STALL_TIMEOUT) }));
            loop {
                tokio::select! {
                    biased;
                    outcome = exchange.as_mut() => {
                        if self.needs_relay(&lane, &outcome) {
                            continue 'lane;
                        }
                        return outcome;
                    }
                    () = timer.as_mut() => {}
                }
                if timer.deadline() >= deadline {
                    let was_sent = progress.is_accepted();
                    if progress.is_on_the_wire() {
                        progress.retire_lane();
                    }
                    let host = self.target.host().to_owned();
                    return Err(AttemptError::TimedOut { host, after: started_at.elapsed(), was_sent });
                }
                if let Some(outcome) = self.yield_to_connections(&progress, exchange.as_mut()).await {
                    if self.needs_relay(&lane, &outcome) {
                        continue 'lane;
                    }
                    return outcome;
                }
                let on_the_wire = lane.on_the_wire.load(SeqCst);
                let is_waiting = !progress.is_on_the_wire();
                if is_waiting && on_the_wire > 0 && !lane.connector.is_connecting() {
                    // The lane's connection accepts no more requests.
                    self.target.max_streams.fetch_min(on_the_wire, Relaxed);
                    if !progress.is_accepted() {
                        break;
                    }
                    // The connection has accepted the request and would send it even if it were moved to another lane. It has to wait.
                }
                let is_connecting = is_waiting && !progress.is_accepted();
                timer.as_mut().reset(if is_connecting { deadline.min(Instant::now() + STALL_TIMEOUT) } else { deadline });
            }
        }
    }

    /// Returns whether a lane could not connect because it does not use the relay to the proxy, which there is by now. Retires the lane.
    fn needs_relay<T>(&self, lane: &Lane, outcome: &Result<T, AttemptError>) -> bool {
        let needs_relay = matches!(outcome, Err(AttemptError::Connect(_))) && self.target.relay.initialized() && !lane.has_relay;
        if needs_relay {
            lane.is_retired.store(true, SeqCst);
        }
        needs_relay
    }

    /// Yields to the connections' tasks, which run on this thread, before a request counts as stalled.
    async fn yield_to_connections<T>(&self, progress: &Progress, mut exchange: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        for _ in 0..STALL_YIELDS {
            tokio::select! {
                biased;
                outcome = exchange.as_mut() => return Some(outcome),
                () = yield_now() => {}
            }
            if progress.is_on_the_wire() {
                break;
            }
        }
        None
    }
}

/// The progress of an attempt. It counts the attempt as in flight on its lane until it is dropped.
pub struct Progress {
    target: Arc<Target>,
    lane: Arc<Lane>,
    is_accepted: AtomicBool,
    is_on_the_wire: AtomicBool,
}

impl Progress {
    fn new(target: Arc<Target>, lane: Arc<Lane>) -> Arc<Progress> {
        lane.in_flight.fetch_add(1, SeqCst);
        Arc::new(Progress { target, lane, is_accepted: AtomicBool::new(false), is_on_the_wire: AtomicBool::new(false) })
    }

    /// Returns the server of the attempt.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns a request body that observes the connection's progress with the request.
    pub fn observe(self: &Arc<Progress>, bytes: Bytes) -> Body {
        Body::wrap(Pin::new(ObservedBody { body: bytes.into(), progress: self.clone() }))
    }

    /// Returns whether a connection has accepted the request. Before that, nothing was sent, and nothing will be if the attempt ends.
    pub fn is_accepted(&self) -> bool {
        self.is_accepted.load(SeqCst)
    }

    /// Returns whether a connection sends or has sent the request: it no longer waits for a stream.
    fn is_on_the_wire(&self) -> bool {
        self.is_on_the_wire.load(SeqCst)
    }

    /// Records that the response has begun, and the protocol.
    pub fn on_response(&self, is_http1: bool) {
        self.target.has_responded.store(true, Relaxed);
        if is_http1 != self.target.is_http1.load(Relaxed) {
            self.target.is_http1.store(is_http1, Relaxed);
        }
    }

    /// Retires the lane after a connection failed. The next lane may reach another server with other limits, so the stream limit is reset.
    pub fn retire_lane(&self) {
        self.lane.is_retired.store(true, SeqCst);
        self.target.max_streams.store(MAX_STREAMS, Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.lane.in_flight.fetch_sub(1, SeqCst);
        if self.is_on_the_wire() {
            self.lane.on_the_wire.fetch_sub(1, SeqCst);
        }
    }
}

/// A request body that notices each access. An access outside the attempt comes from the connection's task. That task looks at the body
/// when it accepts the request; it reads the body, or drops an empty one, when the request has its stream.
struct ObservedBody {
    body: Body,
    progress: Arc<Progress>,
}

impl ObservedBody {
    fn is_with_its_connection(&self) -> bool {
        ATTEMPT.try_with(|()| ()).is_err()
    }

    fn on_the_wire(&self) {
        let progress = &self.progress;
        if self.is_with_its_connection() && progress.is_accepted() && !progress.is_on_the_wire.swap(true, SeqCst) {
            progress.lane.on_the_wire.fetch_add(1, SeqCst);
        }
    }
}

impl Deref for ObservedBody {
    type Target = Body;

    fn deref(&self) -> &Body {
        if self.is_with_its_connection() {
            self.progress.is_accepted.store(true, SeqCst);
        }
        &self.body
    }
}

impl DerefMut for ObservedBody {
    fn deref_mut(&mut self) -> &mut Body {
        self.on_the_wire();
        &mut self.body
    }
}

impl Drop for ObservedBody {
    fn drop(&mut self) {
        self.on_the_wire();
    }
}
