//! Limits and privileges of a process, which those below it inherit.

use rustix::process::{DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::fs;
use std::io;

/// The largest file that can be written.
const MAX_FILE_BYTES: u64 = 8 << 30;
const MAX_DESCRIPTORS: u64 = 4_096;
/// The kernel prefers to kill, when memory is short: 1000 is the most.
const KILLED_FIRST: &str = "800";

/// Limits what commands can use up, and hides this process's memory from others of the same user.
pub fn protect() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, MAX_FILE_BYTES)?;
    limit(Resource::Nofile, MAX_DESCRIPTORS)?;
    // Not everywhere; then the host is killed as early as its commands.
    let _ = fs::write("/proc/self/oom_score_adj", KILLED_FIRST);
    Ok(())
}

/// Limits the processes of this user; returns the limit. None: it does not hold for root.
pub fn limit_processes(count: u32) -> Option<u32> {
    if geteuid().is_root() {
        return None;
    }
    limit(Resource::Nproc, count.into()).ok().map(|()| count)
}

/// Gives all capabilities away, and the way to get any by executing a file.
pub fn drop_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        if !capability_is_in_bounding_set(capability).unwrap_or(false) {
            continue;
        }
        // A user without privileges may not; and needs not, with the flag above.
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Lowers a limit, the hard one too; one that is lower stays.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let value = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    Ok(())
}
