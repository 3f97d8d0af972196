//! How a pool opens connections: a layer around reqwest's connector. It counts connections, explains failures in words, and keeps
//! concurrent calls from opening a connection each when they can share one.
//!
//! Which version of HTTP a server speaks over TLS is known only once the first connection is open. Until then a thousand calls would
//! open a thousand connections, although HTTP/2 needs only one. So while the protocol is not known to be HTTP/1.1, a lane opens its
//! connections one at a time: the next one a moment after the last was opened, and only if the call for it still waits. If one fails,
//! it fails for all calls that wait behind it.

use super::relay::Relay;
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
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

/// How long the next connection waits after one was opened, so that the waiting calls can use that one if possible.
const SHARE_DELAY: Duration = Duration::from_millis(20);

tokio::task_local! {
    /// Set while an attempt is polled. Code that runs without it runs on the connection's task, or its attempt has ended.
    pub static ATTEMPT: ();
}

/// The server that a client's lanes connect to, and what is known about it.
#[derive(Debug)]
pub struct Target {
    /// Scheme, host and port.
    pub url: Url,
    /// The proxy, if one is used.
    pub proxy: Option<Proxy>,
    /// The relay to the proxy, once it turned out that reqwest alone gets no tunnel from it.
    pub relay: OnceCell<Relay>,
    /// The TLS configuration.
    pub tls: ClientConfig,
    /// The timeout of one attempt to connect; reqwest applies it.
    pub connect_timeout: Duration,
    /// Whether to use HTTP/2 without negotiation.
    pub requires_http2: bool,
    /// Whether a response has come.
    pub has_responded: AtomicBool,
    /// Whether a connection carries one request at a time. Until that is known, connections are opened one at a time.
    pub is_http1: AtomicBool,
    /// How many requests to send over one HTTP/2 connection at a time. It is lowered when the server turns out to allow fewer.
    pub max_streams: AtomicUsize,
    /// The client's statistics.
    pub stats: Arc<Stats>,
}

impl Target {
    /// Returns the server's host, and its port unless it is the default one.
    pub fn host(&self) -> &str {
        host(&self.url)
    }

    /// Returns what to add to the error of a request that got no response: servers without HTTP/2 fail in many ways.
    pub fn http2_advice(&self) -> &'static str {
        if self.requires_http2 && !self.has_responded.load(Relaxed) {
            "; `http2` is \"always\", but the server may speak only HTTP/1.1: set it to \"auto\" or \"never\""
        } else {
            ""
        }
    }
}

/// Returns a URL's host, and its port unless it is the default one.
pub fn host(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

/// The layer around the connector of one lane.
#[derive(Clone)]
pub struct ConnectLayer {
    target: Arc<Target>,
    turn: Arc<tokio::sync::Mutex<()>>,
    last: Arc<Mutex<LastConnect>>,
    connecting: Arc<AtomicUsize>,
}

/// The outcomes of the last attempts to connect.
#[derive(Default)]
struct LastConnect {
    opened: Option<Instant>,
    failures: u64,
    failure: String,
}

impl ConnectLayer {
    /// Makes a layer for a new lane.
    pub fn new(target: Arc<Target>) -> ConnectLayer {
        ConnectLayer { target, turn: Arc::default(), last: Arc::default(), connecting: Arc::default() }
    }

    /// Returns whether connections are being opened or wait for their turn.
    pub fn is_connecting(&self) -> bool {
        self.connecting.load(Relaxed) > 0
    }

    fn last(&self) -> std::sync::MutexGuard<'_, LastConnect> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection with `connect` when it is its turn.
    async fn open<T>(self, connect: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        let _connecting = CountGuard::new(self.connecting.clone());
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
            sleep_until(opened + SHARE_DELAY).await;
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
                let message = match &target.proxy {
                    Some(proxy) if proxy.is_http && target.url.scheme() == "https" && tunnel::was_refused(&*error) => {
                        let refusal = tunnel::why_refused(proxy, target).await;
                        if refusal.opens_tunnel {
                            // Without a relay the refusal stands.
                            let _ = target.relay.get_or_try_init(|| Relay::start(proxy, &target.tls)).await;
                        }
                        refusal.message
                    }
                    Some(proxy) => format!("through the proxy {}: {}", proxy.address, causes(&*error)),
                    None => causes(&*error),
                };
                Err(ConnectError(message).into())
            }
        }
    }
}

/// Increments a counter, and decrements it when dropped.
struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    fn new(count: Arc<AtomicUsize>) -> CountGuard {
        count.fetch_add(1, Relaxed);
        CountGuard(count)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The reason why no connection was opened, in words.
#[derive(Debug, Clone)]
pub struct ConnectError(pub String);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for ConnectError {}

type BoxError = Box<dyn StdError + Send + Sync>;

impl<S> Layer<S> for ConnectLayer {
    type Service = Connector<S>;

    fn layer(&self, connector: S) -> Connector<S> {
        Connector(Arc::new((connector, self.clone())))
    }
}

/// reqwest's connector with the layer around it. reqwest clones it several times for each request, mostly without using the clones, so
/// the clones share one value.
pub struct Connector<S>(Arc<(S, ConnectLayer)>);

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

/// Returns an error and its causes.
pub fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}

/// Describes an error from the outermost to the root cause: each cause once, TLS errors as [`tls::explain`] words them.
pub fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut messages: Vec<String> = Vec::new();
    for cause in chain(error) {
        if let Some(tls) = tls_error(cause) {
            return tls::explain(tls);
        }
        let text = cause.to_string();
        // Some errors repeat their cause in their text.
        if !messages.iter().any(|earlier| earlier.contains(&text)) {
            messages.push(text);
        }
    }
    messages.join(": ")
}

/// Returns the TLS error that an error is or contains. I/O errors can contain errors that are not their source.
fn tls_error<'a>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    while let Some(io) = error.downcast_ref::<std::io::Error>() {
        error = io.get_ref()?;
    }
    error.downcast_ref()
}
