from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.controller.config import parse_window, read_options
from reconciler.controller.controller import Schedule
from reconciler.controller.state import Mode, RunStatus
from reconciler.errors import SpecError
from tests.cli.support import arn_of, run
from tests.controller.test_controller import READS, _credentials  # noqa: F401 - a fixture that is always used
from tests.controller.world import World


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-01-05T07:59:59", False),
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-01-05T08:00:00", True),
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-01-05T15:59:59", True),
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-01-05T16:00:00", False),
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-01-04T10:00:00", False),
        # In summer, nine o'clock there is an hour earlier.
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-07-06T07:00:00", True),
        ("0 9 * * MON-FRI for 8h in Europe/Berlin", "2026-07-06T15:00:00", False),
        ("0 9 * * * for 8h", "2026-07-05T09:00:00", True),
        ("0 9 * * * for 8h", "2026-07-05T08:59:59", False),
        # Over midnight, over the end of a month, and longer than its period.
        ("0 22 * * * for 4h", "2026-03-01T01:59:59", True),
        ("0 22 * * * for 4h", "2026-03-01T02:00:00", False),
        ("0 0 L * * for 2d", "2026-03-01T12:00:00", True),
        ("0 * * * * for 2h", "2026-03-01T12:30:00", True),
        ("*/15 9-17 * * * for 5m", "2026-03-01T09:19:59", True),
        ("*/15 9-17 * * * for 5m", "2026-03-01T09:20:00", False),
        ("30 2 * * SUN#2 for 30s in UTC", "2026-03-08T02:30:59", True),
        ("30 2 * * SUN#2 for 30s in UTC", "2026-03-08T02:31:00", False),
        # On the night when clocks go forward, 02:30 does not exist there: it opens at three.
        ("30 2 * * * for 1h in Europe/Berlin", "2026-03-29T01:00:00", True),
        ("30 2 * * * for 1h in Europe/Berlin", "2026-03-29T00:59:59", False),
        # On the night when clocks go back, it opens once.
        ("30 2 * * * for 30m in Europe/Berlin", "2026-10-25T00:45:00", True),
        ("30 2 * * * for 30m in Europe/Berlin", "2026-10-25T01:45:00", False),
    ],
)
def test_a_window_is_open_from_its_start_for_its_duration(window: str, moment: str, is_open: bool) -> None:
    assert parse_window(window).is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a window such as"),
        (7, "is not a window such as"),
        ("0 9 * * MON-FRI", "is not a window such as"),
        ("0 0 9 * * MON-FRI for 8h", "is not a window such as"),
        ("0 9 * * MON-FRI for 8 h", "is not a window such as"),
        ("0 9 * * MON-FRI for ever", "has 'ever', which is not a duration of at most 31 days"),
        ("0 9 * * MON-FRI for 40d", "is not a duration of at most 31 days"),
        ("61 9 * * * for 8h", "is not a cron expression of five fields: bad minute"),
        ("0 9 31 2 * for 8h", "is not a cron expression of five fields: bad day-of-month"),
        ("0 9 */20 * 1L for 8h", "never opens"),
        ("0 9 * * * for 8h in Europe/Nowhere", "names no time zone that this machine knows: Europe/Nowhere"),
        ("0 9 * * * for 8h in ../../etc/passwd", "names no time zone that this machine knows"),
        ("0 9 * * * for 8h in /etc/passwd", "names no time zone that this machine knows"),
    ],
)
def test_what_is_no_window(text: object, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        parse_window(text)


def test_windows_in_settings_and_options(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(
        "controller:\n  windows: ['0 9 * * * for 8h']\n  targets: {prod: {windows: ['0 1 * * * for 1h in Asia/Tokyo', '0 3 * * * for 1h']}}\n"
    )
    options = read_options(path)
    assert list(map(str, options.windows)) == ["0 9 * * * for 8h in UTC"]
    assert list(map(str, options.windows_of["prod"])) == ["0 1 * * * for 1h in Asia/Tokyo", "0 3 * * * for 1h in UTC"]
    path.write_text("controller:\n  windows: 0 9 * * * for 8h\n  targets: {prod: {windows: [daily]}}\n")
    with pytest.raises(SpecError) as caught:
        read_options(path)
    assert f"{path}:2:12: controller.windows: " in str(caught.value)
    said = f'{path}:3:20: controller.targets.prod.windows: a list has "daily", which is not a window such as '
    assert said in str(caught.value)
    wrong = run(tmp_path, "run", "--repo", ".", "--window", "prod=0 9 * * * for ever")
    assert (wrong.code, "--window: '0 9 * * * for ever' has 'ever', which is not a duration" in wrong.err) == (1, True)


@pytest.mark.parametrize("mode", [Mode.APPLY, Mode.HEAL])
def test_nothing_is_applied_outside_of_windows_and_it_is_at_once_when_one_opens(tmp_path: Path, mode: Mode) -> None:
    window = (parse_window("0 9 * * * for 1h in Europe/Berlin"),)
    schedule = Schedule(interval=3_600 * 6, modes={"dev": mode, "free": mode}, windows_of={"dev": window})
    spec: dict[str, object] = {"channels": {"a": {}}}
    with World(tmp_path, "dev", "free", schedule=Schedule(mode=Mode.APPLY), spec=spec) as world, world.ivs() as ivs:
        world.settle()
        assert world.last().status is RunStatus.APPLIED
        world.schedule = schedule
        world.restart()
        opens = at("2026-01-10T08:00:00")
        world.clock.advance(opens - 600 - world.clock.now())
        world.settle()
        world.sandboxes["dev"].control.clear_calls()
        with world.ivs("free") as free:
            for each in (ivs, free):
                each.update_channel(arn=arn_of(each, "a"), latencyMode="NORMAL")
            world.store.request("dev")
            world.store.request("free")
            world.pass_time(10)
            assert free.get_channel(arn=arn_of(free, "a"))["channel"]["latencyMode"] == "LOW"
        assert (world.last().mode, world.last().status) == (Mode.PLAN, RunStatus.DRIFTED)
        assert world.last().plan_id
        said = "nothing is applied outside of the target's windows; the next opens at 2026-01-10 08:00 UTC"
        assert said in world.last().message
        assert world.controller.snapshot().modes == {"dev": Mode.PLAN, "free": mode}
        world.pass_time(opens - world.clock.now() - 1)
        assert ivs.get_channel(arn=arn_of(ivs, "a"))["channel"]["latencyMode"] == "NORMAL"
        world.pass_time(5)
        assert ivs.get_channel(arn=arn_of(ivs, "a"))["channel"]["latencyMode"] == "LOW"
        assert (world.last().mode, world.last().status, world.last().message) == (mode, RunStatus.APPLIED, "")
        world.pass_time(3_600)
        ivs.update_channel(arn=arn_of(ivs, "a"), latencyMode="NORMAL")
        world.sandboxes["dev"].control.clear_calls()
        world.store.request("dev")
        world.pass_time(10)
        assert world.last().mode is Mode.PLAN
        assert all(operation.startswith(READS) for operation in world.operations())


def test_a_window_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    script = "import sys; sys.modules['cronsim'] = None; from reconciler.cli.main import main; sys.exit(main())"
    words = ("run", "--repo", ".", "--once", "--window", "0 9 * * * for 8h")
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.rstrip().endswith('pip install "ivs-reconciler[controller]"')
    assert "cronsim" in done.stderr
