//! The connection pool, set up once per client with TLS roots, timeouts and keep-alive; and one attempt over it.
//!
//! This is hyper's pooled client without more around it. What is added: how a connection is opened (straight, through a proxy's
//! tunnel, or to a proxy that passes requests on), and the note of whether an attempt met a kept connection or opened one.

use crate::config::{Connection, Http2};
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};
use crate::request::Request;
use crate::response::Response;
use crate::stats::Stats;
use bytes::Bytes;
use http::header::{HeaderValue, PROXY_AUTHORIZATION};
use http::{Uri, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection as Connect, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;
use tower_service::Service;

/// How much memory is set aside for an answer before it comes.
const MOST_RESERVED: u64 = 1 << 20;
/// How long an idle connection is kept.
const KEPT: Duration = Duration::from_secs(90);
/// How many idle connections are kept.
const MOST_KEPT: usize = 1024;
/// After how long, and how often, the system asks whether the other side of a silent connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_RETRIES: u32 = 5;

/// A pool of connections.
pub struct Http {
    client: HyperClient<Dialler, Full<Bytes>>,
    /// What a proxy that passes requests on wants to see in each.
    proxy_authorization: Option<HeaderValue>,
    stats: Arc<Stats>,
}

/// Why an attempt brought no response.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection could be made.
    #[error("could not connect to {0}")]
    Connect(String),
    /// The connection broke, or spoke no HTTP, before the response began.
    #[error("the connection failed before an answer came from {0}")]
    Unanswered(String),
    /// The same with a connection that was kept from an earlier call.
    #[error("the connection failed before an answer came from {0}")]
    Stale(String),
    /// The connection broke within the body of a success.
    #[error("the server reported success but its answer was cut short: {1}")]
    CutShort(Response, String),
    /// The body of a success is larger than the bound.
    #[error("the server's answer is larger than `max_response_bytes` ({1})")]
    TooLarge(Response, usize),
}

impl Failure {
    /// The error that the call ends with, if this was the last attempt.
    pub fn into_error(self) -> Error {
        let problem = self.to_string();
        match self {
            Failure::Connect(_) | Failure::Unanswered(_) | Failure::Stale(_) => Error::new(Status::Connection, problem),
            Failure::CutShort(response, _) | Failure::TooLarge(response, _) => response.error(problem),
        }
    }
}

impl Http {
    /// Makes a pool; it belongs to the present runtime.
    pub fn new(connection: &Connection, tls: &Tls, stats: Arc<Stats>) -> Result<Http> {
        let proxy = proxy(connection)?;
        let is_secure = connection.base_url.scheme() == Some(&Scheme::HTTPS);
        let passes_on = proxy.as_ref().filter(|_| !is_secure);
        let proxy_authorization = passes_on.and_then(|proxy| proxy.basic_auth().cloned());
        let dialler = Dialler(Arc::new(Dial {
            open: open(connection, tls, proxy, is_secure),
            host: host(&connection.base_url).to_owned(),
            connect_timeout: connection.connect_timeout,
            stats: stats.clone(),
        }));
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(MOST_KEPT)
            .http2_only(connection.http2 == Http2::Always)
            .build(dialler);
        Ok(Http { client, proxy_authorization, stats })
    }

    /// Makes one request and reads its response.
    pub fn attempt(&self, request: &Request, uri: &Uri) -> impl Future<Output = Result<Response, Failure>> {
        DIALLED.scope(Cell::new(false), self.exchange(request, uri))
    }

    async fn exchange(&self, request: &Request, uri: &Uri) -> Result<Response, Failure> {
        let mut outgoing = http::Request::new(Full::new(request.body.clone().unwrap_or_default()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = uri.clone();
        *outgoing.headers_mut() = request.headers.clone();
        if let Some(authorization) = &self.proxy_authorization {
            outgoing.headers_mut().entry(PROXY_AUTHORIZATION).or_insert_with(|| authorization.clone());
        }
        let incoming = self.client.request(outgoing).await.map_err(|error| {
            let failure = match () {
                () if error.is_connect() => Failure::Connect,
                // The pool handed out a kept connection: this attempt has not opened one.
                () if !DIALLED.with(Cell::get) => Failure::Stale,
                () => Failure::Unanswered,
            };
            failure(format!("{}: {}", host(uri), causes(&error, 1)))
        })?;
        let outcome = read(incoming, request.max_response_bytes).await;
        if let Ok(response) | Err(Failure::CutShort(response, _) | Failure::TooLarge(response, _)) = &outcome {
            self.stats.answer(response.body.len());
        }
        outcome
    }
}

fn host(uri: &Uri) -> &str {
    uri.authority().map_or("", |authority| authority.as_str())
}

/// Reads a response.
async fn read(incoming: http::Response<hyper::body::Incoming>, most: usize) -> Result<Response, Failure> {
    let (head, mut body) = incoming.into_parts();
    let mut response = Response { status: head.status.as_u16(), headers: head.headers, body: Vec::new() };
    // No more than is likely to come, whatever the server announces; and one byte for the terminator that C wants.
    let announced = http_body::Body::size_hint(&body).lower().min(MOST_RESERVED);
    response.body.reserve_exact(announced as usize + 1);
    loop {
        match body.frame().await.map(|frame| frame.map(|frame| frame.into_data())) {
            Some(Ok(Ok(data))) if response.body.len() + data.len() <= most => response.body.extend_from_slice(&data),
            // Trailers.
            Some(Ok(Err(_))) => {}
            None => return Ok(response),
            // What came of an error's body is enough to tell it.
            _ if !response.is_success() => return Ok(response),
            Some(Ok(Ok(_))) => return Err(Failure::TooLarge(response, most)),
            Some(Err(error)) => return Err(Failure::CutShort(response, causes(&error, 0))),
        }
    }
}

/// The proxy on the way to the server, if there is one.
fn proxy(connection: &Connection) -> Result<Option<Intercept>> {
    let matcher = match &connection.proxy {
        Some(url) if url.expose().is_empty() => return Ok(None),
        Some(url) => Matcher::builder().all(url.expose()).build(),
        // A credential sent in plain text to this machine must not take a way over another.
        None if connection.loopback => return Ok(None),
        None => Matcher::from_env(),
    };
    let proxy = matcher.intercept(&connection.base_url);
    let is_usable = proxy.as_ref().map(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https")));
    if is_usable.unwrap_or(connection.proxy.is_none()) {
        Ok(proxy)
    } else {
        Err(Error::config("proxy", "is not a proxy that can be used: it must be http://host:port or https://host:port"))
    }
}

/// The way to open connections: straight to the server; through a tunnel, when it is secure; else to the proxy.
fn open(connection: &Connection, tls: &Tls, proxy: Option<Intercept>, is_secure: bool) -> Box<Open> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    let target_tls = tls.fresh(connection.http2);
    let Some(proxy) = proxy else {
        let straight = HttpsConnector::from((tcp, target_tls));
        return Box::new(move |uri| opening(straight.clone(), uri, false));
    };
    let to_proxy = HttpsConnector::from((tcp, tls.fresh(Http2::Never)));
    let address = proxy.uri().clone();
    if is_secure {
        let mut tunnel = Tunnel::new(address, to_proxy);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let through = HttpsConnector::from((tunnel, target_tls));
        Box::new(move |uri| opening(through.clone(), uri, false))
    } else {
        Box::new(move |_| opening(to_proxy.clone(), address.clone(), true))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Opening = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;
type Open = dyn Fn(Uri) -> Opening + Send + Sync;

fn opening<C>(mut connector: C, uri: Uri, is_proxied: bool) -> Opening
where
    C: Service<Uri, Error = BoxError> + Send + 'static,
    C::Response: Transport + 'static,
    C::Future: Send,
{
    Box::pin(async move {
        std::future::poll_fn(|context| connector.poll_ready(context)).await?;
        Ok(Stream { io: Box::new(connector.call(uri).await?), is_proxied })
    })
}

/// An open connection, whatever it goes through.
struct Stream {
    io: Box<dyn Transport>,
    is_proxied: bool,
}

trait Transport: Read + Write + Connect + Unpin + Send {}

impl<T: Read + Write + Connect + Unpin + Send> Transport for T {}

impl Connect for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_proxied)
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}

tokio::task_local! {
    /// Whether the attempt under way has opened a connection of its own.
    static DIALLED: Cell<bool>;
}

/// Opens connections for the pool, which asks only when it has none to hand out.
#[derive(Clone)]
struct Dialler(Arc<Dial>);

struct Dial {
    open: Box<Open>,
    host: String,
    connect_timeout: Duration,
    stats: Arc<Stats>,
}

impl Service<Uri> for Dialler {
    type Response = Stream;
    type Error = BoxError;
    type Future = Opening;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Opening {
        let Dial { open, host, connect_timeout, stats } = &*self.0;
        let _ = DIALLED.try_with(|dialled| dialled.set(true));
        stats.connection();
        log::record(Level::Trace, "antenv::transport", "connecting", || json!({"host": host}));
        let (opening, patience) = (open(uri), *connect_timeout);
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} ms", patience.as_millis()));
            timeout(patience, opening).await.map_err(late)?
        })
    }
}

/// What TLS connections are made from. Reading it takes files that may be out of reach later, so it is read once per client.
pub struct Tls(rustls::ClientConfig);

impl Tls {
    /// Reads the trusted roots.
    pub fn new(connection: &Connection) -> Result<Tls> {
        tls(connection).map(Tls)
    }

    /// A configuration for one pool, with a memory of sessions of its own.
    fn fresh(&self, http2: Http2) -> rustls::ClientConfig {
        let mut config = self.0.clone();
        config.resumption = Resumption::in_memory_sessions(256);
        let protocols: &[&[u8]] = match http2 {
            Http2::Auto => &[b"h2", b"http/1.1"],
            Http2::Never => &[b"http/1.1"],
            Http2::Always => &[b"h2"],
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

/// TLS with ring, the bundled roots, and those that the configuration and the environment add.
fn tls(connection: &Connection) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &connection.ca_file {
        let found = certificates(path).map_err(|e| Error::config("ca_file", format_args!("cannot be read: {e}")))?;
        if found.is_empty() {
            return Err(Error::config("ca_file", "holds no certificate in PEM form"));
        }
        for certificate in found {
            roots.add(certificate).map_err(|e| Error::config("ca_file", format_args!("holds an unusable certificate: {e}")))?;
        }
    }
    // Reading hundreds of files for a plain connection would be a waste.
    if connection.base_url.scheme_str() == Some("https") || connection.proxy.is_some() {
        for path in environment_roots() {
            roots.add_parsable_certificates(CertificateDer::pem_file_iter(path).into_iter().flatten().flatten());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::config("config_json", format_args!("does not make a TLS client: {e}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The files that SSL_CERT_FILE and SSL_CERT_DIR name. They only add to the bundled roots, and belong to the machine rather than to
/// the caller: what is unreadable there is passed over.
fn environment_roots() -> impl Iterator<Item = PathBuf> {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let folders = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&folders).filter_map(|folder| folder.read_dir().ok()).collect();
    file.into_iter().chain(folders.into_iter().flatten().flatten().map(|entry| entry.path()))
}

fn certificates(path: &Path) -> std::result::Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

/// What went wrong below HTTP: the causes of an error without the `generic` topmost, which only say that a request failed.
fn causes(error: &dyn std::error::Error, generic: usize) -> String {
    let all: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(|error| error.to_string()).collect();
    let mut said: Vec<&str> = Vec::new();
    for cause in &all[all.len().saturating_sub(1).min(generic)..] {
        // Some errors repeat their cause in their own text.
        if !said.iter().any(|earlier| earlier.contains(cause.as_str())) {
            said.push(cause);
        }
    }
    said.join(": ")
}
