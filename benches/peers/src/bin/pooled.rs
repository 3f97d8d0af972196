//! hyper-util's client: hyper, a pool of connections, and TLS by rustls. What reqwest is made of, put together by hand.

use antenv_bench_peers::{Pooled, Result, Slot, client, headers, measure, options, read};
use http_body_util::Empty;
use hyper::{HeaderMap, Request, Uri};

struct Call {
    client: Pooled,
    uri: Uri,
    headers: HeaderMap,
}

impl Slot for Call {
    async fn get(&mut self) -> Result<(u16, Vec<u8>)> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await?;
        Ok((answer.status().as_u16(), read(answer.into_body()).await?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = options()?;
    let client = client()?;
    let uri: Uri = options.url.parse()?;
    let calls = (0..options.in_flight).map(|_| Call { client: client.clone(), uri: uri.clone(), headers: headers() }).collect();
    measure(&options, calls).await;
    Ok(())
}
