//! Resolving host names with the system's resolver. The resolver blocks, so each lookup has its own thread. There is one lookup per name
//! at a time, and all connections to that name share its result. So a slow name does not delay others, and a thousand connections that
//! are opened at once cost one lookup.

use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::runtime::without_signals;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use tokio::sync::oneshot;

/// The lookups in flight, each with its waiters.
static LOOKUPS: ForkSafeMutex<Option<ProcessLocal<Lookups>>> = ForkSafeMutex::new(None);

type Lookups = HashMap<String, Vec<oneshot::Sender<Found>>>;
type Found = Result<Vec<SocketAddr>, String>;

/// Resolves names for reqwest.
pub struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let receiver = join(name.as_str());
        Box::pin(async move {
            let found = receiver?.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Joins the lookup of a name, or starts it if there is none.
fn join(name: &str) -> io::Result<oneshot::Receiver<Found>> {
    let (waiter, receiver) = oneshot::channel();
    let mut lookups = LOOKUPS.lock();
    if lookups.as_ref().and_then(ProcessLocal::get).is_none() {
        *lookups = Some(ProcessLocal::new(Lookups::new()));
    }
    let Some(lookups) = lookups.as_mut().and_then(ProcessLocal::get_mut) else { return Ok(receiver) };
    if let Some(waiters) = lookups.get_mut(name) {
        waiters.push(waiter);
        return Ok(receiver);
    }
    let requested = name.to_owned();
    let look_up = move || {
        // For a SOCKS proxy reqwest resolves the address in a URL like a name, brackets included.
        let found: Found =
            (requested.trim_matches(['[', ']']), 0).to_socket_addrs().map(Iterator::collect).map_err(|e| e.to_string());
        let waiters = LOOKUPS.lock().as_mut().and_then(ProcessLocal::get_mut).and_then(|lookups| lookups.remove(&requested));
        waiters.into_iter().flatten().for_each(|waiter| drop(waiter.send(found.clone())));
    };
    // If no thread can be started, this is a failed connection like any other, and is retried like one.
    let thread = thread::Builder::new().name("antenv-names".to_owned());
    without_signals(|| thread.spawn(look_up))
        .map_err(|e| io::Error::new(e.kind(), format!("no thread could be started to look the name up: {e}")))?;
    lookups.insert(name.to_owned(), vec![waiter]);
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_lookups_of_a_name_all_get_its_addresses() {
        let receivers: Vec<_> = (0..50).map(|_| join("localhost").unwrap()).collect();
        for found in receivers {
            let found = found.blocking_recv().unwrap().unwrap();
            assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
        }
        let error = join("no such name.invalid").unwrap().blocking_recv().unwrap().unwrap_err();
        assert!(!error.is_empty());
    }
}
