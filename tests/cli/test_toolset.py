"""`antenv toolset`: the protocol, and the tool bash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.command import COMMAND
from support.toolset import Toolset, processes_with, unique
from support.waiting import until


def test_the_first_line_says_what_there_is(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        ready = toolset.ready
        assert (ready["type"], ready["protocol"]) == ("ready", 1)
        assert ready["tools"] == ["bash", "read", "write", "edit", "glob", "grep"]
        assert Path(ready["workdir"]) == tmp_path.resolve()
        private = Path(ready["tmpdir"]).parent
        assert toolset.bash("echo $TMPDIR $HOME; cd; touch kept; mkdir -m 0 $TMPDIR/closed; pwd").splitlines() == [
            f"{ready['tmpdir']} {private}/home",
            f"{private}/home",
        ]
        assert private.stat().st_mode & 0o777 == 0o700
        assert toolset.end() == 0
    assert not private.exists()


def test_wrong_requests_are_answered(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        for line in ["{", '"text"', '{"name": "bash"}', '{"input": {}}', "{}"]:
            toolset._input.write(line + "\n\n")
            toolset._input.flush()
            assert "not a request" in toolset.answer(None)["content"][0]["text"]
        assert toolset.fails("rm", path="x") == "there is no tool rm"
        assert "file_path" in toolset.fails("read", path="x")
        assert "invalid type" in toolset.fails("bash", command=5)
        assert "invalid type" in toolset.fails("read", file_path="x", view_range="all")
        assert toolset.fails("bash") == "command is missing"
        toolset.send(cancel="never seen")
        assert toolset.call("bash", command="echo still there") == "still there\n"


def test_a_request_that_is_too_long_ends_the_helper(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "toolset", "--workdir", str(tmp_path)],
        input=b"x" * ((32 << 20) + 1) + b"\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.count(b"\n") == 1


def test_other_tools_are_answered_while_a_command_runs(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        running = toolset.start("bash", command="until [ -e go ]; do sleep 0.01; done; cat go")
        queued = toolset.start("bash", command="echo next")
        assert "wrote" in toolset.call("write", file_path="go", content="now")
        assert toolset.answer(running)["content"][0]["text"] == "now"
        assert toolset.answer(queued)["content"][0]["text"] == "next\n"


def test_a_call_that_is_cancelled_ends_with_what_it_started(tmp_path: Path) -> None:
    mark = unique()
    with Toolset(tmp_path) as toolset:
        running = toolset.start("bash", command=f"echo begun; setsid sleep {mark} & touch begun; sleep {mark}")
        queued = toolset.start("bash", command="touch never")
        until((tmp_path / "begun").exists, "the command has not begun")
        toolset.send(id=running, name="bash", input={"command": "echo a second one"})
        assert toolset.answer(running)["content"][0]["text"] == "a call with this id is running"
        toolset.send(cancel=queued)
        toolset.send(cancel=running)
        answer = toolset.answer(running)
        assert answer["is_error"]
        assert answer["content"][0]["text"] == "begun\nthe call was cancelled; the next command gets a new shell"
        assert toolset.answer(queued)["content"][0]["text"] == "the call was cancelled"
        assert not processes_with(mark)
        assert toolset.call("bash", command="ls") == "begun\n"


def test_the_end_of_the_input_ends_whatever_runs(tmp_path: Path) -> None:
    mark = unique()
    with Toolset(tmp_path) as toolset:
        toolset.start("bash", command=f"touch begun; sleep {mark}")
        until((tmp_path / "begun").exists, "the command has not begun")
        assert toolset.end() == 0
        assert not processes_with(mark)


def test_a_signal_ends_whatever_runs(tmp_path: Path) -> None:
    mark = unique()
    with Toolset(tmp_path) as toolset:
        private = Path(toolset.ready["tmpdir"]).parent
        toolset.start("bash", command=f"touch begun; setsid sleep {mark}")
        until((tmp_path / "begun").exists, "the command has not begun")
        toolset.process.terminate()
        assert toolset.process.wait(60) == 1
        assert not processes_with(mark) and not private.exists()


def test_a_shell_is_kept_between_commands(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        assert toolset.call("bash", command="x=5; f() { echo f$x; }; export Y=6; mkdir d; cd d") == "[no output]"
        assert toolset.call("bash", command="f; sh -c 'echo $Y'; pwd") == f"f5\n6\n{tmp_path}/d\n"
        assert toolset.call("bash", restart=True) == "the shell was restarted"
        assert toolset.call("bash", command="echo [$x]; pwd") == f"[]\n{tmp_path}\n"
        assert toolset.call("bash", command="echo [$x]", restart=True) == "[]\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("false", "exit code: 1"),
        ("echo out; echo err >&2; (exit 7)", "out\nerr\nexit code: 7"),
        ("printf unended; false", "unended\nexit code: 1"),
        ("kill -9 $BASHPID", "the shell was ended by signal 9; the next command gets a new one"),
        ("echo last; exit 3", "last\nthe shell ended with exit code: 3; the next command gets a new one"),
        ("set -e; false", "the shell ended with exit code: 1; the next command gets a new one"),
        ("exec cat /nonexistent", "cat: /nonexistent: No such file or directory\nthe shell ended with exit code: 1;"),
        ("echo 'unbalanced", "unexpected EOF"),
        ("if true; then", "syntax error"),
    ],
)
def test_a_command_that_fails_is_an_error_with_its_output(tmp_path: Path, command: str, text: str) -> None:
    with Toolset(tmp_path) as toolset:
        assert text in toolset.fails("bash", command=command)
        assert toolset.call("bash", command="set +e; echo alive") == "alive\n"


def test_a_command_that_times_out_ends_with_what_it_started(tmp_path: Path) -> None:
    with Toolset(tmp_path, "--bash-timeout-ms", "2000") as toolset:
        mark = unique()
        ended = "timed out after {} ms; the next command gets a new shell"
        assert toolset.fails("bash", command=f"setsid sleep {mark} & sleep {mark}") == ended.format(2000)
        assert not processes_with(mark)
        command = f"trap '' TERM HUP INT; sleep {mark}"
        assert toolset.fails("bash", command=command, timeout_ms=50) == ended.format(50)
        assert not processes_with(mark)
        assert toolset.call("bash", command="echo alive", timeout_ms=60_000) == "alive\n"


def test_the_output_is_cut_at_its_beginning(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        limit = 100 << 10
        text = toolset.call("bash", command=f"printf '%0{limit}d' 7")
        assert len(text) == limit and not text.startswith("[")
        text = toolset.call("bash", command=f"printf 'a%0{limit}d' 7")
        head, _, tail = text.partition("\n")
        assert head == "[output truncated]" and tail == "0" * (limit - 1) + "7"
        text = toolset.call("bash", command="head -c 30000000 /dev/zero | tr '\\0' x; echo end")
        assert text.startswith("[output truncated]\n") and text.endswith("xend\n") and len(text) == limit + 19


def test_control_sequences_are_removed_and_other_bytes_are_replaced(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        assert toolset.call("bash", command=r"printf '\e[31mred\e[0m \e]0;title\a\xff\xc3\xa9\n'") == "red \ufffdé\n"


def test_no_output_is_taken_for_the_end_of_a_command(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        forged = "\n".join(f"{number:032x} 0" for number in range(3))
        assert toolset.call("bash", command=f"echo '{forged}'; echo '{forged}' >&2; sleep 0.2; echo end") == (
            f"{forged}\n{forged}\nend\n"
        )
        # Whatever is written to the shell's own descriptors: the command ends when it ends.
        toolset.bash(f"for fd in /proc/$$/fd/*; do echo '{forged}' >$fd; done; sleep 0.2; touch ended")
        assert (tmp_path / "ended").exists()
        toolset.call("bash", restart=True)
        # What the shell starts has no descriptor but the three.
        assert toolset.call("bash", command="ls -l /proc/self/fd | grep -c pipe") == "2\n"
        toolset.call("bash", command="set -x; set -v; trap 'echo done' EXIT; exec >kept 2>&1")
        assert "visible" in toolset.call("bash", command="echo visible")
        assert toolset.call("bash", command="set +x; set +v; echo end").splitlines()[-1] == "end"


def test_a_process_in_the_background_does_not_hold_a_command_up(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        assert toolset.call(
            "bash", command="sleep 99975 & yes >/dev/null & (while sleep 0.01; do echo tick; done) & echo begun"
        )
        assert toolset.call("bash", command="kill $(jobs -p); wait; yes | head -1; echo over").endswith("y\nover\n")


def test_commands_of_any_size_and_with_any_characters_run(tmp_path: Path) -> None:
    with Toolset(tmp_path) as toolset:
        assert toolset.call("bash", command="# " + "é'\"$(exit 3)`\\" * 20_000 + "\necho end # a comment") == "end\n"
        assert toolset.call("bash", command="cat <<'X'\n'\\ ''\nX") == "'\\ ''\n"
        assert toolset.call("bash", command="read -r line; echo [$line]; cat") == "[]\n"
        assert "NUL" in toolset.fails("bash", command="echo \0")
        for limit in (0, -1, 86_400_001, 1.5):
            assert "timeout_ms" in toolset.fails("bash", command="true", timeout_ms=limit) or limit in (-1, 1.5)


def test_the_environment_holds_no_secret(tmp_path: Path) -> None:
    secrets = {"ANTHROPIC_API_KEY": "canary", "DATABASE_URL": "canary", "ANTHROPIC_ENVIRONMENT_KEY": "canary"}
    given = {"PATH": "/nonexistent:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "WANTED": "yes", "UNWANTED": "no", **secrets}
    with Toolset(tmp_path, "--env", "WANTED", "--env", "ANTHROPIC_API_KEY", env=given) as toolset:
        lines = toolset.call("bash", command="env").splitlines()
        names = {line.partition("=")[0] for line in lines}
        assert names == {
            "PATH", "LC_ALL", "WANTED", "HOME", "TMPDIR", "PWD", "SHLVL", "_", "TERM", "HISTFILE",
        }  # fmt: skip
        assert "PATH=/usr/bin:/bin" in lines
        assert "canary" not in toolset.bash("cat /proc/*/environ")
