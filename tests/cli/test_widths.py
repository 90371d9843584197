"""Reports on narrow terminals: lines end between words, tables become lists, and nothing changes without a terminal."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import Address, KindName
from reconciler.model.resource import Broadcast, KindCount, Overview, QuotaCount, Stream
from reconciler.report.accounts import render_status
from reconciler.sandbox import Sandbox
from reconciler.terminal import cells, wrap_line
from tests.cli.at_terminal import at_terminal
from tests.cli.support import arn_of, client, rewrite, run, stack
from tests.report.makers import an_arn

STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ENV = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}
SPEC: dict[str, object] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}},
    "channels": {
        "main": {"recordingConfiguration": "archive", "tags": {"note": "one of several words " * 5}},
        "side": {"latencyMode": "LOW", "streamKey": {}},
        "gone": {},
    },
}
# All verbs in one process, at a terminal of each width. A width of 0 is the terminal's own, without COLUMNS.
VERBS = """
import os, sys, termios
from reconciler.cli.main import main
for width in (40, 60, 80, 0):
    os.environ.pop("COLUMNS", None)
    termios.tcsetwinsize(sys.stdout, (24, width or 50))
    if width:
        os.environ["COLUMNS"] = str(width)
    verbs = [["status"]]
    if width:
        verbs += [
            ["plan"], ["drift"], ["unlock"], ["validate"], ["-C", "../broken", "validate"], ["plan", "-t", "nowhere"],
            ["show", "saved.json"], ["diff", "HEAD~1..HEAD"], ["apply", "--auto-approve", "--only", "channel/side"],
        ]
    if width == 40:
        verbs += [["plan", "-v"], ["drift", "-v", "--ignore", "channel/nothing-of-this-name:/type"]]
    for words in verbs:
        print(f"<<{width or 50} {' '.join(words)}>>", flush=True)
        main(words)
        sys.stderr.flush()
print("<<end>>")
"""


def test_every_report_fits_a_narrow_terminal(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        ivs = client(sandbox.endpoint_url)
        target = {"endpointUrl": sandbox.endpoint_url, "sandbox": None, "lock": {"file": "locks/dev.lock"}}
        folder = stack(tmp_path / "repo", SPEC, target=target)
        stack(tmp_path / "broken", {"channels": {"main": {"latencyMode": "FAST", "nonsense": True}}})
        git = "git init -q . && git add . && git -c user.name=a -c user.email=a@b.c commit -qm a"
        assert os.system(f"cd {folder} && {git}") == 0
        assert run(folder, "apply", "--auto-approve", env=ENV).code == 0
        ivs.create_channel(name="somebody-elses-channel")
        sandbox.control.drift(arn_of(ivs, "side"), {"latencyMode": "NORMAL", "tags": {"a": "b c " * 20}})
        sandbox.control.go_live(arn_of(ivs, "main"), viewers=1204)
        rewrite(folder, {**SPEC, "channels": {**SPEC["channels"], "new": {"type": "BASIC"}}})  # type: ignore[dict-item]
        assert os.system(f"cd {folder} && {git}") == 0
        assert run(folder, "plan", "--out", "saved.json", env=ENV).code == 0
        with at_terminal(folder, wrapped=VERBS, env=ENV) as screen:
            assert screen.end() == 0
    found = re.split(r"<<(\d+ [^>]*|end)>>", screen.text.replace("\r\n", "\n"))[1:]
    reports = dict(zip(found[::2], found[1::2], strict=True))
    assert len(reports) == 3 * 10 + 2 + 1 + 1
    for name, text in reports.items():
        if name == "end":
            continue
        width = int(name.split()[0])
        assert len(text) > 20, name
        for written in text.split("\n"):
            line = STYLE.sub("", written.rpartition("\r")[2])
            # What is wider is one word, whole, such as an ARN.
            assert cells(line) <= width or " " not in line.strip(), (name, line)
    assert any("/type\n  matched no difference" in text for text in reports.values()), "notes on stderr are wrapped too"
    status = STYLE.sub("", reports["40 status"])
    assert "\n  channels\n    managed 3, unmanaged 1\n" in status
    assert "\n    channel/main\n      since 20" in status
    assert "\n  channels\n    managed 3" in STYLE.sub("", reports["50 status"]), "the terminal's own width"
    assert re.search(r"\n  channels +3 +1\n", STYLE.sub("", reports["80 status"]))


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\n\x1b", exclude_categories=["C"]), max_size=120),
    st.integers(10, 60),
)
def test_wrapping_keeps_every_word_and_wraps_no_sooner_than_needed(text: str, width: int) -> None:
    lines = wrap_line(text, width).split("\n")
    assert [word for line in lines for word in line.split(" ") if word] == [word for word in text.split(" ") if word]
    for line, following in pairwise(lines):
        assert cells(line) + 1 + cells(following.strip(" ").split(" ")[0]) > width
    for line in lines:
        assert cells(line.rstrip(" ")) <= width or " " not in line.strip(" ")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("    \x1b[31mred and long enough\x1b[0m to wrap", ["    \x1b[31mred and long", "      enough\x1b[0m to wrap"]),
        ("日本日本 日本日本 日本日本", ["日本日本 日本日本", "  日本日本"]),
        ("  arn:aws:ivs:us-west-2:123456789012:channel/x", ["  arn:aws:ivs:us-west-2:123456789012:channel/x"]),
        ("confirm this or that:  ", ["confirm this or", "  that:  "]),
        ("", [""]),
    ],
)
def test_lines_are_wrapped_between_words(line: str, shown: list[str]) -> None:
    assert wrap_line(line, 20) == "\n".join(shown)


def an_overview() -> Overview:
    return Overview(
        "prod",
        "123456789012",
        "us-west-2",
        kinds=(
            KindCount(KindName.CHANNEL, 4_200, 17),
            KindCount(KindName.FAILOVER_SLATE_CONFIGURATION, 0, 0, "denied"),
        ),
        live_channels=(
            Broadcast(
                Stream(an_arn(KindName.CHANNEL, "x"), "2026-05-04T09:00:00Z", 1204, "HEALTHY"),
                Address(KindName.CHANNEL, "main-stage"),
            ),
        ),
        quotas=(QuotaCount("Channels", 4_217, 5_000, adjustable=True, code="L-C01DFF58", applied=True),),
    )


def test_a_table_that_is_too_wide_is_a_list() -> None:
    wide = render_status(an_overview(), "acme-live")
    assert wide == render_status(an_overview(), "acme-live", width=200)
    assert "  quota      used     of\n  Channels  4,217  5,000  84 %  applied, L-C01DFF58\n" in wide
    narrow = render_status(an_overview(), "acme-live", width=40)
    assert (
        "\n\n  channels\n    managed 4,200, unmanaged 17\n  failover slate configurations\n    managed ?, unmanaged ?\n"
        in narrow
    )
    assert "\n  quota\n  Channels\n    used 4,217, of 5,000, 84 %, applied, L-C01DFF58\n" in narrow
    assert "\n    channel/main-stage\n      since 2026-05-04T09:00:00Z, 1,204 viewers, healthy\n" in narrow


def test_a_coloured_line_is_wrapped_as_one_without_colours() -> None:
    line = "  \x1b[32m  +\x1b[0m \x1b[1mrecording-configuration/archive\x1b[0m will be created"
    plain = wrap_line(STYLE.sub("", line), 40)
    assert plain == "    + recording-configuration/archive\n      will be created"
    assert STYLE.sub("", wrap_line(line, 40)) == plain
