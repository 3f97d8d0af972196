//! Namespaces: of processes, so that all of them end with the first; of mounts, so that all but the writable directories are read-only; of
//! System V's objects.

use super::super::Settings;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_remount};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What was set up.
#[derive(Default)]
pub struct Mounts {
    /// Only the processes of the namespace are below /proc.
    pub own_proc: bool,
    /// All mounts but those of the writable directories are read-only.
    pub read_only: bool,
    pub max_processes: Option<u32>,
    /// The read-only memory directories by their paths, opened on mounts that nothing else can reach, which are writable.
    pub memory: HashMap<PathBuf, Dir>,
}

/// Enters namespaces; the next process that this one starts is the first of the new process namespace. A user without privileges needs a
/// user namespace, in which the user is the same one, but may set up the others.
pub fn enter() -> io::Result<()> {
    let flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    if unshare(flags).is_ok() {
        return Ok(());
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(flags | CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    // Executing the helper takes all capabilities away but the ambient ones.
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::SETPCAP;
    let mut sets = capabilities(None)?;
    sets.inheritable |= needed;
    set_capabilities(None, sets)?;
    for capability in needed.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Sets up the mounts and limits of the namespace that this process is the first of. Reports what fails.
pub fn set_up(settings: &Settings, note: &mut impl FnMut(String)) -> Mounts {
    let mut done = Mounts::default();
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        note(format!("a mount namespace: {error}"));
        return done;
    }
    if let Err(error) = mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC) {
        note(format!("private mounts: {error}"));
        return done;
    }
    match mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None) {
        Ok(()) => done.own_proc = true,
        Err(error) => note(format!("a /proc of its own: {error}")),
    }
    // A limit of each process namespace, since Linux 6.14; before, it is the system's, and only root's to write.
    if done.own_proc && is_own_limit() {
        match fs::write("/proc/sys/kernel/pid_max", settings.max_processes.to_string()) {
            Ok(()) => done.max_processes = Some(settings.max_processes),
            Err(error) => note(format!("a limit of processes in the namespace: {error}")),
        }
    }
    match make_read_only(settings) {
        Ok(memory) => (done.read_only, done.memory) = (true, memory),
        Err(problem) => note(format!("read-only mounts: {problem}")),
    }
    done
}

/// Whether the kernel has a limit of processes for each namespace.
fn is_own_limit() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).filter_map(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 14)
}

/// Makes all mounts read-only, but for the writable directories, which become mounts of their own. Returns the read-only memory directories
/// as they are below the mounts that hide them.
fn make_read_only(settings: &Settings) -> Result<HashMap<PathBuf, Dir>, String> {
    let writable: Vec<&Path> =
        [&settings.workdir, &settings.private].into_iter().chain(&settings.memory).map(PathBuf::as_path).collect();
    let read_only: Vec<&Path> = settings.memory_read_only.iter().map(PathBuf::as_path).collect();
    // The outer ones first: binding them would hide those within.
    let mut own: Vec<&Path> = writable.iter().chain(&read_only).copied().collect();
    own.sort_by_key(|path| path.components().count());
    own.dedup();
    let mut memory = HashMap::new();
    for path in &own {
        let bind = || mount_bind_recursive(*path, *path).map_err(|error| format!("{}: {error}", path.display()));
        bind()?;
        if read_only.contains(path) {
            // This mount stays writable; the next one hides it, and is made read-only below.
            let opened = Dir::open_ambient_dir(path, ambient_authority());
            memory.insert(path.to_path_buf(), opened.map_err(|error| format!("{}: {error}", path.display()))?);
            bind()?;
        }
    }
    let innermost = |path: &Path| own.iter().filter(|root| path.starts_with(root)).max_by_key(|root| root.components().count());
    let mountinfo = fs::read("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    for each in mountinfo.split(|byte| *byte == b'\n').filter_map(MountPoint::parse) {
        if innermost(&each.path).is_some_and(|root| writable.contains(root)) || each.flags.contains(MountFlags::RDONLY) {
            continue;
        }
        match mount_remount(&each.path, MountFlags::BIND | MountFlags::RDONLY | each.flags, "") {
            // Hidden below another mount, or unreachable: commands cannot reach it, either.
            Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ACCESS | rustix::io::Errno::NOTDIR) => {}
            Err(error) => return Err(format!("{}: {error}", each.path.display())),
        }
    }
    Ok(memory)
}

/// A line of /proc/self/mountinfo.
struct MountPoint {
    path: PathBuf,
    /// Those that must stay as they are.
    flags: MountFlags,
}

impl MountPoint {
    fn parse(line: &[u8]) -> Option<MountPoint> {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let path = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        let options = fields.next()?.split(|byte| *byte == b',');
        let flags = options.map(|option| match option {
            b"ro" => MountFlags::RDONLY,
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            _ => MountFlags::empty(),
        });
        Some(MountPoint { path, flags: flags.collect() })
    }
}

/// Undoes the octal escapes of mountinfo: spaces, tabs, line feeds, backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = (*byte == b'\\').then(|| after.first_chunk::<3>()).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(*byte));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    bytes
}
