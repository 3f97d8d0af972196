//! hyper alone, one connection for each call in flight: the floor, with neither pool nor retries nor anything else around it.

use antenv_bench_peers::{Result, Slot, headers, measure, options, read};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{HeaderMap, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

struct Call {
    sender: SendRequest<Empty<Bytes>>,
    path: Uri,
    headers: HeaderMap,
}

impl Slot for Call {
    async fn get(&mut self) -> Result<(u16, Vec<u8>)> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        Ok((answer.status().as_u16(), read(answer.into_body()).await?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = options()?;
    let uri: Uri = options.url.parse()?;
    let authority = uri.authority().ok_or("the URL names no server")?.as_str();
    let mut headers = headers();
    headers.insert(HOST, authority.parse()?);
    let mut calls = Vec::new();
    for _ in 0..options.in_flight {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        calls.push(Call { sender, path: uri.path().parse()?, headers: headers.clone() });
    }
    measure(&options, calls).await;
    Ok(())
}
