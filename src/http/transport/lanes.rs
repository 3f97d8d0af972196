//! Which connection a request goes over, and when one is given up.
//!
//! A lane is a client of reqwest's with a pool of its own: of one connection, when the server speaks HTTP/2; of as many as requests are in
//! flight, when it speaks HTTP/1.1 (then one lane is enough). A request takes the first lane with room, and opens another if there is
//! none: so it does not wait when the streams that the server allows on a connection are used up.
//!
//! A connection can die without a word: a load balancer forgets it, a cable is cut. A lane on which a request got no answer is
//! retired: what is under way on it may still end, but nothing new is sent over its connections, of which others may have died likewise.

use super::AttemptError;
use super::connector::{ATTEMPT, Connecting, Target};
use super::names::Names;
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

/// How many requests are sent over one HTTP/2 connection at a time. Few servers allow fewer than a hundred.
pub const MAX_STREAMS: usize = 100;
/// After how long a request that its connection has not taken up looks for another. Far longer than that takes when there is room.
const STALLED: Duration = Duration::from_millis(50);
/// How often the runtime gets to do what else is due before a request counts as stalled.
const STALLED_CHECKS: usize = 16;

/// How long an idle connection is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How many idle connections are kept.
const POOL_MAX_IDLE: usize = 1024;
/// After how long, and how often, the system asks whether the other side of a silent connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent may stay unacknowledged by the other system.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// How often an HTTP/2 connection is asked whether the server is still there, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The lanes of one kind of requests.
pub struct Lanes {
    target: Arc<Target>,
    /// Whether HTTP/2 is spoken without asking.
    prior_knowledge: bool,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

struct Lane {
    client: reqwest::Client,
    connecting: Connecting,
    in_flight: AtomicUsize,
    /// How many of those its connections are at work on.
    on_the_wire: AtomicUsize,
    is_retired: AtomicBool,
}

impl Lanes {
    /// Makes the first lane. An error: reqwest does not take this configuration.
    pub fn new(target: Arc<Target>, prior_knowledge: bool) -> Result<Lanes, String> {
        let lanes = Lanes { target, prior_knowledge, lanes: Mutex::default() };
        lanes.lanes().push(lanes.open()?);
        Ok(lanes)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<Arc<Lane>, String> {
        let target = &self.target;
        let connecting = Connecting::new(target.clone());
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(target.tls.clone())
            .dns_resolver(Arc::new(Names))
            .redirect(redirect::Policy::none())
            .referer(false)
            // With the number beside it no copy of each request is made.
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
            .connector_layer(connecting.clone());
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        {
            builder = builder.tcp_user_timeout(USER_TIMEOUT);
        }
        builder = match &target.proxy {
            // Which proxy there is was decided when the client was made.
            None => builder.no_proxy(),
            Some(proxy) => builder.proxy(Proxy::all(proxy.url.expose()).map_err(|_| "the proxy's URL is not taken".to_owned())?),
        };
        if self.prior_knowledge {
            builder = builder.http2_prior_knowledge();
        }
        let client = builder.build().map_err(|error| super::causes(&error))?;
        let (in_flight, on_the_wire) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Arc::new(Lane { client, connecting, in_flight, on_the_wire, is_retired: AtomicBool::new(false) }))
    }

    /// A lane with room for one more request.
    fn pick(&self) -> Result<Arc<Lane>, String> {
        let mut lanes = self.lanes();
        lanes.retain(|lane| !lane.is_retired.load(SeqCst));
        let with_room = if self.target.is_http1.load(Relaxed) {
            // Several lanes there are if the protocol was not known at first: all their connections are used.
            lanes.iter().min_by_key(|lane| lane.in_flight.load(SeqCst))
        } else {
            let most = self.target.max_streams.load(Relaxed);
            lanes.iter().find(|lane| lane.in_flight.load(SeqCst) < most)
        };
        if let Some(lane) = with_room {
            return Ok(lane.clone());
        }
        let lane = self.open()?;
        lanes.push(lane.clone());
        Ok(lane)
    }

    /// Runs one exchange on a lane until the given moment; on another lane, if the first has no room after all.
    pub async fn run<T, F>(
        &self,
        until: Instant,
        exchange: impl Fn(reqwest::Client, Arc<Progress>) -> F,
    ) -> Result<T, AttemptError>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        let begun = Instant::now();
        loop {
            let lane = self.pick().map_err(AttemptError::Connect)?;
            let progress = Progress::new(self.target.clone(), lane.clone());
            let mut exchange = pin!(ATTEMPT.scope((), exchange(lane.client.clone(), progress.clone())));
            let is_alone = self.target.is_http1.load(Relaxed) || lane.in_flight.load(SeqCst) == 1;
            let mut alarm = pin!(sleep_until(if is_alone { until } else { until.min(Instant::now() + STALLED) }));
            loop {
                tokio::select! {
                    biased;
                    outcome = exchange.as_mut() => return outcome,
                    () = alarm.as_mut() => {}
                }
                if alarm.deadline() >= until {
                    let was_sent = progress.is_taken_up();
                    if progress.is_on_the_wire() {
                        progress.retire_lane();
                    }
                    let host = self.target.host().to_owned();
                    return Err(AttemptError::TimedOut { host, after: begun.elapsed(), was_sent });
                }
                if let Some(outcome) = self.look_for_room(&progress, exchange.as_mut()).await {
                    return outcome;
                }
                let on_the_wire = lane.on_the_wire.load(SeqCst);
                let is_waiting = !progress.is_on_the_wire();
                if is_waiting && on_the_wire > 0 && !lane.connecting.is_under_way() {
                    // The lane has a connection, which takes no more.
                    self.target.max_streams.fetch_min(on_the_wire, Relaxed);
                    if !progress.is_taken_up() {
                        break;
                    }
                    // It is the next in line there, and would be sent even if nobody waited for it any more: it has to wait.
                }
                let is_connecting = is_waiting && !progress.is_taken_up();
                alarm.as_mut().reset(if is_connecting { until.min(Instant::now() + STALLED) } else { until });
            }
        }
    }

    /// Lets the connections do what they have to before a request counts as stalled: all of them run on this thread.
    async fn look_for_room<T>(&self, progress: &Progress, mut exchange: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        for _ in 0..STALLED_CHECKS {
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

/// How far an attempt has come. While this lives, the attempt counts as in flight on its lane.
pub struct Progress {
    target: Arc<Target>,
    lane: Arc<Lane>,
    is_taken_up: AtomicBool,
    is_on_the_wire: AtomicBool,
}

impl Progress {
    fn new(target: Arc<Target>, lane: Arc<Lane>) -> Arc<Progress> {
        lane.in_flight.fetch_add(1, SeqCst);
        Arc::new(Progress { target, lane, is_taken_up: AtomicBool::new(false), is_on_the_wire: AtomicBool::new(false) })
    }

    /// The server that it goes to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A request body by which it is noticed how far its connection is with the request.
    pub fn watch(self: &Arc<Progress>, bytes: Bytes) -> Body {
        Body::wrap(Pin::new(Watched { body: bytes.into(), progress: self.clone() }))
    }

    /// Whether a connection has taken the request up: before that nothing of it was sent, nor will be once the attempt has ended.
    pub fn is_taken_up(&self) -> bool {
        self.is_taken_up.load(SeqCst)
    }

    /// Whether a connection is at work on the request: it does not wait for a stream any more.
    fn is_on_the_wire(&self) -> bool {
        self.is_on_the_wire.load(SeqCst)
    }

    /// The response has begun.
    pub fn answered(&self, is_http1: bool) {
        if is_http1 != self.target.is_http1.load(Relaxed) {
            self.target.is_http1.store(is_http1, Relaxed);
        }
    }

    /// The connection broke: the others of its lane are not used again. The next one may lead to another server, with other limits.
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

/// A request body that is looked at through this pointer alone. Whoever does so outside the attempt is the connection's own task. It looks
/// at the body when it takes the request up; it reads it, or drops one that is empty, when the request has its stream.
struct Watched {
    body: Body,
    progress: Arc<Progress>,
}

impl Watched {
    fn is_with_its_connection(&self) -> bool {
        ATTEMPT.try_with(|()| ()).is_err()
    }

    fn on_the_wire(&self) {
        let progress = &self.progress;
        if self.is_with_its_connection() && progress.is_taken_up() && !progress.is_on_the_wire.swap(true, SeqCst) {
            progress.lane.on_the_wire.fetch_add(1, SeqCst);
        }
    }
}

impl Deref for Watched {
    type Target = Body;

    fn deref(&self) -> &Body {
        if self.is_with_its_connection() {
            self.progress.is_taken_up.store(true, SeqCst);
        }
        &self.body
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Body {
        self.on_the_wire();
        &mut self.body
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.on_the_wire();
    }
}
