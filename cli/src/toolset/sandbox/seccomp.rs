//! seccomp: system calls that are refused with EPERM, to the helper and everything below it.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;

/// The second table of system calls of x86-64: the same ones, with this bit.
const X32_BIT: i64 = 0x4000_0000;
/// The type of a socket, without its flags.
const SOCKET_TYPE: u64 = 0xf;

/// System calls that no tool of an agent needs: namespaces and mounts, which could undo the confinement; io_uring, which evades filters;
/// keys, BPF and the like, which are ways into kernels.
const REFUSED: [i64; 42] = [
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
];

/// Ways into other processes. Landlock confines them better: debuggers work within.
const INSPECTING: [i64; 6] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
];

/// The kinds of sockets that there are with the network allowed.
const NETWORK_FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses system calls to this process and those that it starts. `inspecting`: those of debuggers, too.
pub fn restrict(network: bool, inspecting: bool) -> Result<(), String> {
    let arch = TargetArch::try_from(ARCH).map_err(|_| format!("not known for {ARCH}"))?;
    let problem = |error: seccompiler::BackendError| error.to_string();
    let mut refused: Rules = REFUSED.into_iter().map(always).collect();
    if inspecting {
        refused.extend(INSPECTING.map(always));
    }
    refused.extend(sockets(network).map_err(problem)?);
    let new_user = condition(0, Op::MaskedEq(libc::CLONE_NEWUSER as u64), libc::CLONE_NEWUSER as u64).map_err(problem)?;
    refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![new_user]).map_err(problem)?]);
    install(refused, libc::EPERM, arch)?;
    // Its flags are in memory, where a filter cannot look. Programs use clone, then.
    install(Rules::from([always(libc::SYS_clone3)]), libc::ENOSYS, arch)
}

/// Without the network, sockets come in pairs only, of kinds that cannot send elsewhere.
fn sockets(network: bool) -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::BackendError> {
    if network {
        let others = NETWORK_FAMILIES
            .iter()
            .map(|family| condition(0, Op::Ne, family.cast_unsigned().into()))
            .collect::<Result<_, _>>()?;
        return Ok(vec![(libc::SYS_socket, vec![SeccompRule::new(others)?])]);
    }
    let datagrams = condition(1, Op::MaskedEq(SOCKET_TYPE), libc::SOCK_DGRAM.cast_unsigned().into())?;
    Ok(vec![always(libc::SYS_socket), (libc::SYS_socketpair, vec![SeccompRule::new(vec![datagrams])?])])
}

fn always(call: i64) -> (i64, Vec<SeccompRule>) {
    (call, Vec::new())
}

fn condition(argument: u8, op: Op, value: u64) -> Result<Condition, seccompiler::BackendError> {
    Condition::new(argument, Length::Dword, op, value)
}

fn install(mut refused: Rules, errno: i32, arch: TargetArch) -> Result<(), String> {
    if matches!(arch, TargetArch::x86_64) {
        let second: Vec<_> = refused.iter().map(|(call, rules)| (call | X32_BIT, rules.clone())).collect();
        refused.extend(second);
    }
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, action, arch).map_err(|error| error.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}
