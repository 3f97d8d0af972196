"""The hostile network that the tests put between the library and a server, all of it on loopback.

| to have | use |
|---|---|
| open connections that freeze, lag, crawl or break | `relay.Relay` |
| an HTTP/1.1 server that answers as it likes, or acts and then breaks the connection | `http1.Http1Server` |
| an HTTP/2 server that limits, refuses or resets streams, or sends GOAWAY | `http2.Http2Server` |
| proxies, well-behaved and broken | `proxies.ConnectProxy`, `proxies.SocksProxy` |
| certificates, good and bad, and servers that have them | `certificates.Authority` |
| names that hang, are slow, or have several addresses; threads that cannot be made | `resolver.Resolver` |
"""
