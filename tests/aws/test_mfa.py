"""A profile whose role takes the code of an MFA device: asked for at a terminal, once, and never where nobody can answer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.aws.authority import CANARY, Authority, authority
from tests.aws.bench import ROLE, STATIC_KEYS, Bench
from tests.cli.at_terminal import BACKGROUND, at_terminal
from tests.preloaded import Process

DEVICE = "arn:aws:iam::123456789012:mfa/operator"
SETTINGS = f"[profile studio]\n{STATIC_KEYS}[profile deploy]\nrole_arn = {ROLE}\nsource_profile = studio\nmfa_serial = {DEVICE}\n"
QUESTION = f"Enter MFA code for {DEVICE}: "


def prepared(bench: Bench, giver: Authority) -> None:
    bench.settings(SETTINGS)
    bench.project(profile="deploy")
    bench.env["AWS_ENDPOINT_URL_STS"] = giver.url


def test_a_code_is_asked_for_at_the_terminal_and_not_shown(bench: Bench) -> None:
    with authority(7200, codes=["808182"]) as giver:
        prepared(bench, giver)
        with at_terminal(bench.folder, "apply", "-vv", env=bench.env) as screen:
            screen.until(QUESTION)
            screen.type("80x\x7f0 81")
            screen.type("82\r")
            screen.until("Only 'yes' will be accepted to confirm")
            screen.type("yes\n")
            assert screen.end() == 0, screen.text
    assert bench.names() == [f"c{number:02}" for number in range(8)]
    assert [form.get("TokenCode") for form in giver.forms] == ["808182"]
    assert "8182" not in screen.text
    assert CANARY not in screen.text


def test_targets_that_share_a_profile_ask_once_and_others_do_not_draw_over_the_question(bench: Bench) -> None:
    with authority(7200, codes=["808182"]) as giver:
        prepared(bench, giver)
        regions = ("us-west-2", "eu-west-1", "us-east-1", "ap-south-1")
        bench.projects(
            other={"profile": "studio", "region": "eu-central-1"},
            **{region: {"profile": "deploy", "region": region} for region in regions},
        )
        with at_terminal(bench.folder, "plan", env=bench.env) as screen:
            screen.until(QUESTION)
            until = time.monotonic() + 120
            while not bench.sandbox.control.calls("ListChannels"):
                assert time.monotonic() < until, "the target with another profile continues meanwhile"
                time.sleep(0.05)
            screen.type("808182\r")
            assert screen.end() == 0, screen.text
    assert screen.text.count("Enter MFA code") == 1
    assert screen.text.partition(QUESTION)[2].startswith("\r\n")
    assert [form["SerialNumber"] for form in giver.forms] == [DEVICE]


def test_a_code_that_is_wrong_fails_all_targets_of_the_profile_and_is_not_asked_for_again(bench: Bench) -> None:
    with authority(7200, codes=["808182"]) as giver:
        prepared(bench, giver)
        bench.projects(
            **{region: {"profile": "deploy", "region": region} for region in ("us-west-2", "eu-west-1", "us-east-1")}
        )
        with at_terminal(bench.folder, "plan", env=bench.env) as screen:
            screen.until(QUESTION)
            screen.type("1234\r")
            screen.until(f"6 digits are needed; {QUESTION}")
            screen.type("654321\r")
            assert screen.end() == 1, screen.text
    assert screen.text.count(QUESTION) == 2
    assert screen.text.count(f"the code of the MFA device {DEVICE} was rejected") == 3
    assert len(giver.forms) == 1


def test_a_question_without_an_answer_can_be_interrupted_and_restores_the_terminal(bench: Bench) -> None:
    with authority() as giver:
        prepared(bench, giver)
        with at_terminal(bench.folder, "plan", env=bench.env, wrapped=KEEPER) as screen:
            screen.until(QUESTION)
            screen.type("12\x03")
            assert screen.end() == 130, screen.text
    assert "Interrupted." in screen.text
    assert "echo again: True" in screen.text
    assert giver.forms == []


def test_sigterm_leaves_the_terminal_as_it_was_too(bench: Bench) -> None:
    with authority() as giver:
        prepared(bench, giver)
        with at_terminal(bench.folder, "plan", env=bench.env, wrapped=KEEPER) as screen:
            screen.until(QUESTION)
            (started,) = re.findall(r"process (\d+)", screen.text)
            os.kill(int(started), signal.SIGTERM)
            assert screen.end() == 143, screen.text
    assert "echo again: True" in screen.text


KEEPER = f"""
import signal, subprocess, sys, termios
signal.signal(signal.SIGINT, signal.SIG_IGN)
process = subprocess.Popen([sys.executable, *sys.argv[1:]], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
print("process", process.pid, flush=True)
code = process.wait()
flags = termios.tcgetattr(0)[3]
print("echo again:", all(flags & flag for flag in ({termios.ECHO}, {termios.ICANON}, {termios.ISIG})))
sys.exit(code)
"""


@pytest.mark.parametrize("stdin", ["open", "nothing"])
def test_without_a_terminal_it_is_an_error_and_nothing_is_waited_for(bench: Bench, stdin: str) -> None:
    with authority() as giver:
        prepared(bench, giver)
        started = Process(
            ["plan"],
            cwd=bench.folder,
            env=env_of(bench),
            stdin=subprocess.PIPE if stdin == "open" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Only the process ends these; its stdin stays open.
        assert started.stderr is not None
        said = started.stderr.read()
        assert started.wait(120) == 1
        started.communicate()
    assert "there is no terminal; run it on a terminal" in said
    assert DEVICE in said
    assert ROLE in said
    assert "Traceback" not in said
    assert "Warning" not in said
    assert giver.forms == []


def env_of(bench: Bench) -> dict[str, str]:
    import os

    return {**os.environ, **bench.env}


def test_in_the_background_of_a_terminal_it_is_an_error_too(bench: Bench) -> None:
    with authority() as giver:
        prepared(bench, giver)
        with at_terminal(bench.folder, "plan", env=bench.env, wrapped=BACKGROUND) as screen:
            assert screen.end() == 1
    assert "the process is in the background of its terminal" in screen.text


def test_a_session_that_ends_before_the_apply_does_says_so_with_4(bench: Bench, tmp_path: Path) -> None:
    with authority(20, codes=["808182"]) as giver:
        prepared(bench, giver)
        with at_terminal(bench.folder, "apply", env=bench.env) as screen:
            screen.until(QUESTION)
            screen.type("808182\r")
            screen.until("Only 'yes' will be accepted to confirm")
            time.sleep(16)
            screen.type("yes\n")
            assert screen.end() == 4, screen.text
    assert bench.names() == []
    assert "a run prompts for a code only once" in screen.text
    assert "0 done, " in screen.text
