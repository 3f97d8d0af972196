"""Commands that try to leave the confinement of `antenv toolset`: what its first line promises holds."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import COMMAND
from support.toolset import NOBODY, PATIENCE, UNPRIVILEGED, WITHOUT_NAMESPACES, Toolset, processes_with, unique, works
from support.waiting import until

CANARY = "canary-7f3a"
#: Ways to run the helper: as this user, without namespaces, and as a user without privileges.
WAYS = {"own": (), "without_namespaces": WITHOUT_NAMESPACES, "unprivileged": UNPRIVILEGED}
# One that a user without privileges can execute.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else os.path.realpath(sys.executable)


class House:
    """A working directory, a directory outside with a secret, and how to start the helper."""

    def __init__(self, top: Path, way: str) -> None:
        self.prefix = WAYS[way] if works(WAYS[way]) else ()
        self.workdir, self.outside = top / "work", top / "outside"
        self.workdir.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_text(CANARY)
        (self.outside / "folder").mkdir()
        (self.workdir / "folder").mkdir()
        # For a user who may not read what the build made.
        self.executable = str(top / "antenv")
        shutil.copy(COMMAND, self.executable)
        if way == "unprivileged" and self.prefix:
            for path in (self.workdir, *self.workdir.iterdir(), self.outside, *self.outside.iterdir()):
                os.chown(path, NOBODY, NOBODY)

    def toolset(self, *options: str, env: dict[str, str] | None = None) -> Toolset:
        options = (*options, "--read", sys.base_prefix) if not PYTHON.startswith("/usr/") else options
        return Toolset(self.workdir, *options, prefix=self.prefix, executable=self.executable, env=env)

    def state(self) -> list[tuple[str, int, int, int, bytes]]:
        """Returns what is outside: names, modes, sizes, times, contents."""
        found = []
        for path in sorted([self.outside, *self.outside.rglob("*")]):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path), status.st_mode, status.st_nlink, status.st_mtime_ns, content))
        return found


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        yield House(Path(top), request.param)


@pytest.fixture
def own_house() -> Iterator[House]:
    with tempfile.TemporaryDirectory() as top:
        yield House(Path(top), "own")


def python(code: str) -> str:
    """Returns the shell command that runs a program; `denied` and the reason if it fails."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return f"{PYTHON} - <<'PROGRAM'\ntry:\n{lines}\nexcept OSError as error:\n    print('denied', error)\nPROGRAM"


READS = [
    "cat {out}/secret",
    "cat ../outside/secret",
    "ln -s {out} link; cat link/secret; ln -s {out}/secret link2; cat link2; cat <link2; exec 9<link2; cat <&9",
    "cat /proc/self/root{out}/secret /proc/$$/root{out}/secret /proc/1/root{out}/secret /proc/$PPID/root{out}/secret",
    "cat /proc/$PPID/cwd/../outside/secret /proc/self/cwd/../outside/secret; cat /proc/$PPID/fd/*/../outside/secret",
    "ln {out}/secret hard; cat hard; cp {out}/secret copy; cat copy; mv {out}/secret moved; cat moved",
    "tar c {out} | tar xO; dd if={out}/secret; grep -r . {out}; find {out} -type f -exec cat {{}} +",
    "ls {out} && cat {out}/*; (cd {out} && cat secret); cd {out}; cat secret",
    "mkdir m; mount --bind {out} m; cat m/secret; unshare -rm sh -c 'mount --bind {out} m; cat m/secret'",
    "unshare -r chroot / cat {out}/secret; nsenter -t 1 -m cat {out}/secret; chroot / cat {out}/secret",
    "for disk in /dev/[svn]d* /dev/nvme* /dev/mem /dev/kmem /proc/kcore; do head -c 9 $disk && echo {canary}; done",
    "mknod null c 1 3 && echo {canary}; mknod disk b 254 0 && echo {canary}",
]


@pytest.mark.parametrize("command", READS)
def test_files_outside_are_not_read(house: House, command: str) -> None:
    with house.toolset() as toolset:
        promised = toolset.confinement["reads"]
        assert promised == (toolset.confinement["landlock_abi"] > 0)
        text = toolset.bash(command.format(out=house.outside, canary=CANARY)) + toolset.bash(
            "cat $(find . -type f); true"
        )
        assert not promised or CANARY not in text


WRITES = [
    "echo x >{out}/secret; echo x >>{out}/secret; echo x >{out}/new; : >{out}/secret",
    "dd if=/dev/null of={out}/secret; sed -i s/c/d/ {out}/secret; tee {out}/secret </dev/null",
    "rm -rf {out}; rm -f {out}/secret; rmdir {out}/folder; mv {out}/secret {out}/other; mv {out}/folder folder2",
    "mkdir {out}/a; mkfifo {out}/b; ln -s x {out}/c; touch e; mv e {out}/e; cp e {out}/f; ln e {out}/g",
    "ln -s {out} link; echo x >link/secret; echo x >link/new; cd link; echo x >secret; rm -f secret",
    "echo x >/proc/self/root{out}/secret; echo x >/proc/$PPID/root{out}/secret; echo x >/proc/$PPID/cwd/../outside/new",
    "ln {out}/secret hard; echo x >hard",
    python("import os\nos.truncate('{out}/secret', 0)"),
    python("from multiprocessing import shared_memory\nshared_memory.SharedMemory(create=True, size=9)"),
    "for path in /tmp /var/tmp /dev/shm /etc /usr/bin ~/.. /proc/sys/kernel /sys /dev; do touch $path/{canary}; done; "
    "ls -d /tmp/{canary} /var/tmp/{canary} /dev/shm/{canary} /etc/{canary} /usr/bin/{canary}",
]


@pytest.mark.parametrize("command", WRITES)
def test_files_outside_are_not_written(house: House, command: str) -> None:
    before = house.state()
    with house.toolset() as toolset:
        assert toolset.confinement["writes"] == (toolset.confinement["landlock_abi"] >= 3)
        text = toolset.bash(
            command.format(out=house.outside, canary=CANARY)
            if "PROGRAM" not in command
            else (command.replace("{out}", str(house.outside)))
        )
        assert not toolset.confinement["writes"] or house.state() == before, text
        assert not [
            path for path in ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr/bin") if Path(path, CANARY).exists()
        ]


def test_modes_and_times_outside_are_changed_only_where_the_first_line_says_so(house: House) -> None:
    before = house.state()
    with house.toolset() as toolset:
        command = (
            f"chmod 751 {house.outside}/folder; touch -d 2001-01-01 {house.outside}/secret; chmod 777 {house.outside}"
        )
        toolset.bash(command)
        assert (house.state() == before) == toolset.confinement["metadata"]


def test_secrets_of_other_processes_are_not_read(house: House) -> None:
    env = dict(os.environ) | {"ANTHROPIC_API_KEY": CANARY, "OTHER_SECRET": CANARY}
    with house.toolset(env=env) as toolset, subprocess.Popen(["sleep", "600"], env=env) as victim:
        assert toolset.confinement["memory"] == (toolset.confinement["landlock_abi"] > 0)
        processes = f"$PPID 1 {toolset.process.pid} {os.getpid()} {victim.pid}"
        text = toolset.bash(
            f"cat /proc/*/environ /proc/self/environ; for p in {processes}; do cat /proc/$p/environ; done"
        )
        text += toolset.bash(
            f"env; for p in {processes}; do cat /proc/$p/{{mem,maps,auxv,stack,syscall,fd/0}}; ls /proc/$p/fd/; done"
        )
        assert CANARY not in text
        code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Iov(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
for process in sorted({os.getppid(), 1, OTHERS} | {int(p) for p in os.listdir('/proc') if p.isdigit()}):
    name = f'/proc/{process}/cmdline'
    if process == os.getpid() or os.path.exists(name) and b'bash' in open(name, 'rb').read():
        continue
    if libc.ptrace(16, process, 0, 0) == 0:
        print('attached', process)
    buffer = ctypes.create_string_buffer(16)
    local, remote = Iov(ctypes.addressof(buffer), 16), Iov(0x400000, 16)
    read = libc.process_vm_readv(process, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if read >= 0 or ctypes.get_errno() not in (1, 3, 13):
        print('readable', process, ctypes.get_errno())
    descriptor = libc.syscall(434, process, 0)
    if descriptor >= 0 and libc.syscall(438, descriptor, 0, 0) >= 0:
        print('took a descriptor', process)
print('tried')
""".replace("OTHERS", f"{toolset.process.pid}, {os.getpid()}, {victim.pid}")
        text = toolset.bash(python(code))
        assert not toolset.confinement["memory"] or text == "tried\n"
        victim.kill()


def test_processes_outside_are_neither_seen_nor_signalled(house: House) -> None:
    mark = unique()
    with house.toolset() as toolset, subprocess.Popen(["sleep", mark]) as victim:
        if toolset.confinement["signals"]:
            targets = f"$PPID {toolset.process.pid} {victim.pid} -{os.getpgrp()}"
            for signal in ("KILL", "STOP", "TERM"):
                toolset.bash(f"for p in {targets}; do kill -{signal} -- $p; done")
            # All that may be signalled: the shell's own processes.
            toolset.bash("kill -KILL -1")
        else:
            assert toolset.bash(f"kill -0 {victim.pid} && echo reached") == "reached\n"
        assert toolset.call("bash", command="echo alive") == "alive\n"
        assert victim.poll() is None and toolset.process.poll() is None
        seen = f"sleep\0{mark}" in toolset.bash("cat /proc/*/cmdline").replace("\ufffd", "")
        assert seen != toolset.confinement["processes"]
        victim.kill()


NETWORK = [
    "exec 9<>/dev/tcp/127.0.0.1/{port} && echo reached",
    "exec 9<>/dev/udp/127.0.0.1/{port} && echo to {port} >&9 && echo reached",
    python("import socket\nsocket.create_connection(('127.0.0.1', {port}))\nprint('reached')"),
    python("import socket\nsocket.socket().bind(('127.0.0.1', 0))\nprint('reached')"),
    python(
        "from socket import *\ns = socket(AF_INET, SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', {port}))\nprint('reached')"
    ),
    python("import socket\nsocket.socket(socket.AF_UNIX).connect('{work}/socket')\nprint('reached')"),
    python("from socket import *\ns, _ = socketpair(1, SOCK_DGRAM)\ns.sendto(b'x', '{work}/socket')\nprint('reached')"),
    python("import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{abstract}')\nprint('reached')"),
    python("import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\nprint('reached')"),
    python("import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)\nprint('reached')"),
    python("import ctypes\nprint('reached' if ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0 else 'denied')"),
    python("import ctypes\nprint('reached' if ctypes.CDLL(None).syscall(41 + 0x40000000, 2, 1, 0) >= 0 else 'denied')"),
]


@pytest.mark.parametrize("number", range(len(NETWORK)))
def test_nothing_is_sent_where_the_network_is_off(house: House, number: int) -> None:
    abstract = f"antenv-{unique()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as other,
    ):
        named.bind(str(house.workdir / "socket"))
        (house.workdir / "socket").chmod(0o777)
        other.bind("\0" + abstract)
        for each in (server, named, other):
            each.listen()
            each.setblocking(False)
        with house.toolset() as toolset:
            command = (
                NETWORK[number].replace("{port}", str(server.getsockname()[1])).replace("{work}", str(house.workdir))
            )
            text = toolset.bash(command.replace("{abstract}", abstract))
            assert toolset.confinement["network"] == "denied" and "reached" not in text
            assert text, "it was not tried"
        for each in (server, named, other):
            with pytest.raises(BlockingIOError):
                each.accept()


def test_the_network_is_there_where_it_is_allowed(own_house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, own_house.toolset("--network") as toolset:
        assert toolset.confinement["network"] == "allowed"
        text = toolset.bash(f"exec 9<>/dev/tcp/127.0.0.1/{server.getsockname()[1]} && echo reached")
        assert text == "reached\n"
        server.accept()[0].close()
        raw = python("import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)\nprint('reached')")
        assert "denied" in toolset.bash(raw)


@pytest.mark.parametrize(
    "how", ["setsid sleep {0} &", "(setsid nohup sleep {0} >/dev/null 2>&1 &)", "trap '' TERM HUP; sleep {0} & disown"]
)
def test_daemons_end_with_the_helper(house: House, how: str) -> None:
    mark = unique()
    with house.toolset() as toolset:
        toolset.bash(how.format(mark))
        until(lambda: processes_with(mark), "the daemon has not begun")
        toolset.end()
        assert not processes_with(mark)


def test_daemons_end_when_the_helper_is_killed(house: House) -> None:
    mark = unique()
    with house.toolset() as toolset:
        toolset.bash(f"setsid sleep {mark} & sleep 0.1")
        until(lambda: processes_with(mark), "the daemon has not begun")
        toolset.process.kill()
        toolset.process.wait(PATIENCE)
        if toolset.confinement["kill"]:
            until(lambda: not processes_with(mark), "the daemon has not ended")
        for process in processes_with(mark):
            os.kill(process, 9)
        # The one thing that stays: nobody is left to remove it.
        shutil.rmtree(Path(toolset.ready["tmpdir"]).parent)


def test_a_fork_bomb_ends_with_its_time_limit(own_house: House) -> None:
    mark = unique()
    with own_house.toolset("--max-processes", "512") as toolset:
        # As root and without namespaces, nothing would limit it: docs/security.md.
        assert toolset.confinement["max_processes"] == 512
        assert toolset.confinement["kill"]
        bomb = f"bomb() {{ : {mark}; bomb | bomb & }}; bomb; sleep {mark}"
        assert "timed out" in toolset.fails("bash", command=bomb, timeout_ms=1000)
        assert toolset.call("bash", command="echo /proc/[0-9]* | wc -w").strip() in ("3", "4")
        assert not processes_with(mark)


def test_limits_hold(house: House) -> None:
    with house.toolset() as toolset:
        assert toolset.confinement["privileges"]
        status = toolset.bash("cat /proc/self/status")
        assert "NoNewPrivs:\t1" in status
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert f"{kind}:\t0000000000000000" in status
        assert "File too large" in toolset.bash("trap '' XFSZ; truncate -s 9G big")
        assert toolset.bash("ulimit -c; ulimit -n") == "0\n4096\n"
        assert (
            toolset.bash(
                "su -c true; sudo true; unshare -Ur true && echo escaped; unshare -n true && echo escaped"
            ).count("escaped")
            == 0
        )


def test_what_is_missing_is_refused_where_it_is_required(house: House) -> None:
    with house.toolset() as toolset:
        missing = toolset.confinement["missing"]
    with house.toolset("--sandbox", "required") as toolset:
        if missing:
            assert toolset.ready == {} and toolset.process.wait(PATIENCE) == 1
            assert toolset.process.stderr and "; ".join(missing) in toolset.process.stderr.read()
        else:
            assert toolset.confinement["missing"] == []
    with house.toolset("--sandbox", "off") as toolset:
        promises = {
            name: toolset.confinement[name] for name in ("writes", "reads", "metadata", "signals", "memory", "kill")
        }
        assert not any(promises.values()) and toolset.confinement["network"] == "allowed"
        assert toolset.bash("echo alive") == "alive\n"


def test_the_same_commands_succeed_without_the_sandbox(own_house: House) -> None:
    """So it is the sandbox that stops them."""
    house, before = own_house, own_house.state()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as named:
        named.bind(str(house.workdir / "socket"))
        named.listen()
        with (
            house.toolset("--sandbox", "off") as toolset,
            subprocess.Popen(["sleep", "600"], env={"SECRET": CANARY}) as victim,
        ):
            for command in READS[:6]:
                if "$PPID" not in command or os.geteuid() == 0:
                    assert CANARY in toolset.bash(command.format(out=house.outside, canary="")), command
                    (house.outside / "secret").write_text(CANARY)
            assert CANARY in toolset.bash(f"cat /proc/{victim.pid}/environ")
            for number in (0, 1, 2, 3, 4, 5, 8):
                command = NETWORK[number].replace("{port}", str(server.getsockname()[1]))
                assert "reached" in toolset.bash(command.replace("{work}", str(house.workdir))), command
            for command in WRITES[:2]:
                toolset.bash(command.format(out=house.outside))
                assert house.state() != before
                before = house.state()
            toolset.bash(f"kill -KILL {victim.pid}")
            assert victim.wait(PATIENCE) == -9


def swap(house: House, stop: threading.Event) -> None:
    """Makes a path of the working directory a folder and a link to outside, in turn, as fast as it goes."""
    place, folder, link = (house.workdir / name for name in ("swapped", "is-folder", "is-link"))
    folder.mkdir()
    (folder / "secret").write_text("harmless")
    link.symlink_to(house.outside)
    while not stop.is_set():
        for each in (folder, link):
            try:
                each.rename(place)
            except OSError:
                # The tool write has made a folder in the moment when there was nothing.
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.rename(each)


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_a_link_that_is_swapped_in_between_leads_nowhere(own_house: House, sandbox: str) -> None:
    """Without the sandbox, too: the tools of files confine themselves."""
    house, before, stop = own_house, own_house.state(), threading.Event()
    with house.toolset("--sandbox", sandbox) as toolset:
        swapping = threading.Thread(target=swap, args=(house, stop))
        swapping.start()
        try:
            texts = []
            tries: list[Callable[[], str]] = [
                lambda: toolset.start("read", file_path="swapped/secret"),
                lambda: toolset.start("write", file_path="swapped/new", content="x"),
                lambda: toolset.start(
                    "edit", file_path="swapped/secret", old_string="a", new_string="a", replace_all=True
                ),
                lambda: toolset.start("grep", pattern="a", path="swapped"),
                lambda: toolset.start("grep", pattern=".", path="."),
                lambda: toolset.start("glob", pattern="**/secret"),
            ]
            for _ in range(150):
                for call in [each() for each in tries]:
                    texts.append(str(toolset.answer(call)["content"]))
        finally:
            stop.set()
            swapping.join()
        everything = "".join(texts)
        assert CANARY not in everything
        assert "harmless" in everything, "the folder was never there"
    assert house.state() == before
