//! reqwest, as its documentation has it: one client for all, the headers set on it once.

use antenv_bench_peers::{Result, Slot, headers, measure, options, tls};
use reqwest::{Client, Url};

struct Call {
    client: Client,
    url: Url,
}

impl Slot for Call {
    async fn get(&mut self) -> Result<(u16, Vec<u8>)> {
        let answer = self.client.get(self.url.clone()).send().await?;
        Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = options()?;
    let mut tls = tls()?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Client::builder().default_headers(headers()).no_proxy().tls_backend_preconfigured(tls).build()?;
    let url: Url = options.url.parse()?;
    let calls = (0..options.in_flight).map(|_| Call { client: client.clone(), url: url.clone() }).collect();
    measure(&options, calls).await;
    Ok(())
}
