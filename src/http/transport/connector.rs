//! How a pool opens connections: a layer around reqwest's connector. It counts them, says in words what failed, and keeps those who
//! call at the same moment from each opening a connection where one would do for all.
//!
//! Which version of HTTP a server speaks over TLS is known only when the first connection stands. Until then a thousand calls would
//! open a thousand connections, only to find that HTTP/2 needs one. So while the protocol is not known to be HTTP/1.1 the connections of
//! a lane are opened in turn: the next one only if whoever asked for it still waits, a moment after the one before was opened. What
//! failed for the first fails for all who wait behind it.

use super::tls;
use super::tunnel;
use crate::http::proxy::Proxy;
use crate::telemetry::log::{self, Level};
use crate::telemetry::stats::Stats;
use rustls::ClientConfig;
use serde_json::json;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

/// How long the next connection waits after one was opened, for those who can use that one too to do so.
const SHARING: Duration = Duration::from_millis(20);

tokio::task_local! {
    /// Set while an attempt is polled: what runs without it runs on its connection's task, or for nobody.
    pub static ATTEMPT: ();
}

/// What all lanes of a client know of the server they connect to.
#[derive(Debug)]
pub struct Target {
    /// Scheme, host and port.
    pub url: Url,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
    /// What TLS connections are made from.
    pub tls: ClientConfig,
    /// Bounds one attempt to connect; reqwest applies it.
    pub connect_timeout: Duration,
    /// Whether one connection carries one request at a time. Until that is known connections are opened in turn.
    pub is_http1: AtomicBool,
    /// How many requests one connection carries at a time over HTTP/2: at most, and less once the server was seen to allow less.
    pub max_streams: AtomicUsize,
    /// Counts.
    pub stats: Arc<Stats>,
}

impl Target {
    /// The server's host, and its port if that is not the usual one.
    pub fn host(&self) -> &str {
        host(&self.url)
    }
}

/// The host of a URL, and its port if that is not the usual one.
pub fn host(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

/// The layer, for one lane.
#[derive(Clone)]
pub struct Connecting {
    target: Arc<Target>,
    turn: Arc<tokio::sync::Mutex<()>>,
    last: Arc<Mutex<Last>>,
    under_way: Arc<AtomicUsize>,
}

/// The connection that was opened last, or was not.
#[derive(Default)]
struct Last {
    opened: Option<Instant>,
    failures: u64,
    failure: String,
}

impl Connecting {
    /// A layer for a new lane.
    pub fn new(target: Arc<Target>) -> Connecting {
        Connecting { target, turn: Arc::default(), last: Arc::default(), under_way: Arc::default() }
    }

    /// Whether connections are being opened, or wait for their turn.
    pub fn is_under_way(&self) -> bool {
        self.under_way.load(Relaxed) > 0
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection by `connect`, when it is its turn.
    async fn open<T>(self, connect: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        let _under_way = Counted::new(self.under_way.clone());
        if self.target.is_http1.load(Relaxed) {
            return self.connect(connect).await;
        }
        let failures_before = self.last().failures;
        let mut turn = Some(self.turn.lock().await);
        let (opened, failure) = {
            let last = self.last();
            (last.opened, Some(last.failure.clone()).filter(|_| last.failures > failures_before))
        };
        if let Some(failure) = failure {
            return Err(ConnectError(failure).into());
        }
        if let Some(opened) = opened {
            sleep_until(opened + SHARING).await;
        }
        if ATTEMPT.try_with(|()| ()).is_err() {
            return Err(ConnectError("another connection is used instead".to_owned()).into());
        }
        if self.target.is_http1.load(Relaxed) {
            turn = None;
        }
        let outcome = self.connect(connect).await;
        let mut last = self.last();
        match &outcome {
            Ok(_) => last.opened = Some(Instant::now()),
            Err(error) => {
                last.failures += 1;
                last.failure = error.to_string();
            }
        }
        drop(turn);
        outcome
    }

    async fn connect<T>(&self, connect: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        let target = &self.target;
        target.stats.connection();
        log::record(Level::Trace, "antenv::transport", "connecting", || json!({"host": target.host()}));
        match connect.await {
            Ok(connection) => Ok(connection),
            Err(error) => {
                let said = match &target.proxy {
                    Some(proxy) if proxy.is_http && target.url.scheme() == "https" && tunnel::was_refused(&*error) => {
                        tunnel::why_refused(proxy, target).await
                    }
                    Some(proxy) => format!("through the proxy {}: {}", proxy.address, causes(&*error)),
                    None => causes(&*error),
                };
                Err(ConnectError(said).into())
            }
        }
    }
}

/// Counts itself while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Relaxed);
        Counted(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Why no connection was opened, in words.
#[derive(Debug, Clone)]
pub struct ConnectError(pub String);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for ConnectError {}

type BoxError = Box<dyn StdError + Send + Sync>;

impl<S> Layer<S> for Connecting {
    type Service = Connector<S>;

    fn layer(&self, connector: S) -> Connector<S> {
        Connector(Arc::new((connector, self.clone())))
    }
}

/// reqwest's connector with the layer around it. It is copied several times for each request, for the most part without being asked
/// for anything: so all of it stays in one place.
pub struct Connector<S>(Arc<(S, Connecting)>);

impl<S> Clone for Connector<S> {
    fn clone(&self) -> Self {
        Connector(self.0.clone())
    }
}

impl<S, R> Service<R> for Connector<S>
where
    S: Service<R, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: R) -> Self::Future {
        let (mut connector, layer) = (*self.0).clone();
        Box::pin(layer.open(async move {
            std::future::poll_fn(|context| connector.poll_ready(context)).await?;
            connector.call(to).await
        }))
    }
}

/// An error and its causes.
pub fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}

/// What went wrong, from the outside to the root: each cause once, TLS in words of our own.
pub fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in chain(error) {
        if let Some(tls) = tls_error(cause) {
            return tls::explain(tls);
        }
        let text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

/// The TLS error that an error is or holds. I/O errors hold one another without being one another's source.
fn tls_error<'a>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    while let Some(io) = error.downcast_ref::<std::io::Error>() {
        error = io.get_ref()?;
    }
    error.downcast_ref()
}
