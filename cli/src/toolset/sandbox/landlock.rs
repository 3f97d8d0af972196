//! Landlock: what files, TCP ports and processes can be reached.

use super::super::Settings;
use super::super::launcher::OWN_EXECUTABLE;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use std::path::{Path, PathBuf};

/// The newest interface that is used as far as the kernel has it.
const NEWEST: ABI = ABI::V10;
/// From which version on truncating, TCP and signals are confined, and from which on all that this module relies on.
pub const TRUNCATE_ABI: u32 = 3;
pub const TCP_ABI: u32 = 4;
pub const SIGNAL_ABI: u32 = 6;
pub const COMPLETE_ABI: u32 = SIGNAL_ABI;

/// What commands may read and execute: the system, but no one's home, no volumes, no state of services.
const SYSTEM: [&str; 20] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/snap",
    "/gnu/store",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/var/lib/dpkg",
    "/var/cache/fontconfig",
    "/run/systemd/resolve",
    "/run/resolvconf",
];
/// Devices without effect on anything.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
const DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});

/// Confines this process and what it starts. Returns the version of the kernel's interface.
pub fn restrict(settings: &Settings) -> Result<u32, String> {
    let problem = |error: RulesetError| error.to_string();
    let read = AccessFs::from_read(NEWEST);
    let write = all_but_devices();
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(problem)?;
    if !settings.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(problem)?;
    }
    let mut created = ruleset.scope(Scope::from_all(NEWEST)).map_err(problem)?.create().map_err(problem)?;
    let optional = SYSTEM.iter().map(Path::new).map(|path| (path, read));
    let optional = optional.chain(DEVICES.iter().map(Path::new).map(|path| (path, DEVICE)));
    for (path, access) in optional.filter(|(path, _)| path.exists()) {
        created = allow(created, path, access)?;
    }
    let read_only = settings.read.iter().map(|path| (path.as_path(), read));
    let writable = [&settings.workdir, &settings.private].into_iter().chain(&settings.memory);
    // The host writes in those that commands only read: [`restrict_shell`].
    let writable = writable.chain(&settings.memory_read_only).map(|path| (path.as_path(), write));
    let itself = (Path::new(OWN_EXECUTABLE), make_bitflags!(AccessFs::{ReadFile | Execute}));
    for (path, access) in read_only.chain(writable).chain([itself]) {
        created = allow(created, path, access)?;
    }
    enforced(created.restrict_self().map_err(problem)?)
}

/// Enters a domain within the one of the helper: from there the helper can be neither signalled nor inspected, and files are written only
/// in these directories.
pub fn restrict_shell(writable: &[PathBuf]) -> Result<(), String> {
    let problem = |error: RulesetError| error.to_string();
    let write = AccessFs::from_write(NEWEST);
    let ruleset = Ruleset::default().handle_access(write).and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)));
    let mut created = ruleset.and_then(Ruleset::create).map_err(problem)?;
    for path in DEVICES.iter().map(Path::new).filter(|path| path.exists()) {
        created = allow(created, path, DEVICE & write)?;
    }
    for path in writable {
        created = allow(created, path, all_but_devices() & write)?;
    }
    created.restrict_self().map(drop).map_err(problem)
}

fn all_but_devices() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev})
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, String> {
    let opened = PathFd::new(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // Rights of directories mean nothing for a file.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(opened, access)).map_err(|error| format!("{}: {error}", path.display()))
}

fn enforced(status: RestrictionStatus) -> Result<u32, String> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            Ok(effective_abi as u32)
        }
        LandlockStatus::NotEnabled => Err("not enabled in this kernel".to_owned()),
        _ => Err("not in this kernel".to_owned()),
    }
}
