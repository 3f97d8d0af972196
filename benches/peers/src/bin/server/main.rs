//! Answers every GET with the same environment, or with a stream of events, as fast as one thread can: what is measured against it is
//! the client.
//!
//! Takes the name of a file, writes the certificate of the CA that vouches for it there, and prints three URLs, one a line: HTTPS
//! with HTTP/2 for those who ask for it by ALPN, HTTPS with HTTP/1.1 alone, and plain HTTP. Knows no pipelining, no bodies, no other
//! methods.

mod events;

use antenv_bench_peers::{Result, certificate};
use bytes::Bytes;
use events::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const ENVIRONMENT: &str = concat!(
    r#"{"id":"env_bench","archived_at":null,"config":{"type":"cloud","networking":{"type":"limited","#,
    r#""allowed_hosts":["api.example.com","registry.example.com"],"allow_mcp_servers":true,"allow_package_managers":true},"#,
    r#""packages":{"apt":["ffmpeg","poppler-utils"],"cargo":[],"gem":[],"go":[],"npm":["typescript@5.9.3"],"#,
    r#""pip":["numpy==2.3.4","pandas==2.3.3"],"type":"packages"}},"created_at":"2026-11-01T12:00:00.000000Z","#,
    r#""description":"What each call of it gets","metadata":{"team":"platform"},"name":"bench","type":"environment","#,
    r#""updated_at":"2026-11-01T12:00:00.000000Z","scope":"organization"}"#
);

/// How many requests a connection takes at once: what servers have as a rule.
const MAX_STREAMS: u32 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let ca_file = std::env::args().nth(1).ok_or("usage: server CA_FILE")?;
    let (_, most_files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most_files, most_files)?;
    let tls = certificate::tls(&ca_file)?;
    let mut http1 = tls.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let headers = Arc::new(headers());
    let text: Arc<str> = as_http1(&headers).into();
    for tls in [Some(tls), Some(http1), None] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        // By a name, as users have it: some clients take longer over addresses.
        println!("http{}://localhost:{}", if tls.is_some() { "s" } else { "" }, listener.local_addr()?.port());
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(listen(listener, acceptor, headers.clone(), text.clone()));
    }
    std::future::pending().await
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("request-id"), HeaderValue::from_static("req_011CUUfvRjyfyT5bNs3DMKcp")),
        (CONTENT_LENGTH, ENVIRONMENT.len().into()),
        (DATE, HeaderValue::from_static("Sun, 01 Nov 2026 12:00:00 GMT")),
    ])
}

fn as_http1(headers: &HeaderMap) -> String {
    let lines = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    format!("HTTP/1.1 200 OK\r\n{}\r\n{ENVIRONMENT}", lines.collect::<String>())
}

/// Serves what connects. A connection that fails is its client's loss.
async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, headers: Arc<HeaderMap>, text: Arc<str>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, headers, text) = (acceptor.clone(), headers.clone(), text.clone());
        tokio::spawn(async move { serve(stream, acceptor, &headers, &text).await.ok() });
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, headers: &HeaderMap, text: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else { return serve_http1(stream, text).await };
    let stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(stream, headers).await
    } else {
        serve_http1(stream, text).await
    }
}

/// Answers whenever what came makes a request; almost always it comes at once.
async fn serve_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Result<()> {
    let mut request = Vec::with_capacity(4096);
    while stream.read_buf(&mut request).await? > 0 {
        if request.ends_with(b"\r\n\r\n") {
            let path = request.split(|byte| *byte == b' ').nth(1).and_then(|path| std::str::from_utf8(path).ok());
            if let Some(events) = path.and_then(Stream::of) {
                events.write(&mut stream).await?;
            } else {
                stream.write_all(text.as_bytes()).await?;
                stream.flush().await?;
            }
            request.clear();
        }
    }
    Ok(())
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin, headers: &HeaderMap) -> Result<()> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(MAX_STREAMS).handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        if let Some(events) = Stream::of(request.uri().path()) {
            tokio::spawn(async move { events.send(respond).await.ok() });
            continue;
        }
        let mut response = http::Response::new(());
        *response.headers_mut() = headers.clone();
        respond.send_response(response, false)?.send_data(Bytes::from_static(ENVIRONMENT.as_bytes()), true)?;
    }
    Ok(())
}
