//! Names to addresses, by the system's resolver. That blocks, so each look-up has a thread of its own; there is one look-up a name at
//! a time, whose result all who wait for that name share. So a name that takes long delays nobody who asks for another, and a
//! thousand connections that are opened at once cost one look-up.

use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::runtime::without_signals;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use tokio::sync::oneshot;

/// The look-ups under way, with those who wait for them.
static LOOKUPS: ForkSafeMutex<Option<ProcessLocal<Lookups>>> = ForkSafeMutex::new(None);

type Lookups = HashMap<String, Vec<oneshot::Sender<Found>>>;
type Found = Result<Vec<SocketAddr>, String>;

/// Resolves names for reqwest.
pub struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let waiting = join(name.as_str());
        Box::pin(async move {
            let found = waiting?.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Joins the look-up of a name, which begins now if there is none.
fn join(name: &str) -> io::Result<oneshot::Receiver<Found>> {
    let (waiter, waiting) = oneshot::channel();
    let mut lookups = LOOKUPS.lock();
    if lookups.as_ref().and_then(ProcessLocal::get).is_none() {
        *lookups = Some(ProcessLocal::new(Lookups::new()));
    }
    let Some(lookups) = lookups.as_mut().and_then(ProcessLocal::get_mut) else { return Ok(waiting) };
    if let Some(waiters) = lookups.get_mut(name) {
        waiters.push(waiter);
        return Ok(waiting);
    }
    let asked = name.to_owned();
    let look_up = move || {
        // reqwest asks for the address in a URL like for a name when a SOCKS proxy is to be told, brackets included.
        let found: Found =
            (asked.trim_matches(['[', ']']), 0).to_socket_addrs().map(Iterator::collect).map_err(|e| e.to_string());
        let waiters = LOOKUPS.lock().as_mut().and_then(ProcessLocal::get_mut).and_then(|lookups| lookups.remove(&asked));
        waiters.into_iter().flatten().for_each(|waiter| drop(waiter.send(found.clone())));
    };
    // Should no thread be had, this is a failed connection like any other, and tried again like one.
    let thread = thread::Builder::new().name("antenv-names".to_owned());
    without_signals(|| thread.spawn(look_up))
        .map_err(|e| io::Error::new(e.kind(), format!("no thread to look the name up with: {e}")))?;
    lookups.insert(name.to_owned(), vec![waiter]);
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_all_who_ask_at_once() {
        let waiting: Vec<_> = (0..50).map(|_| join("localhost").unwrap()).collect();
        for found in waiting {
            let found = found.blocking_recv().unwrap().unwrap();
            assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
        }
        let error = join("no such name.invalid").unwrap().blocking_recv().unwrap().unwrap_err();
        assert!(!error.is_empty());
    }
}
