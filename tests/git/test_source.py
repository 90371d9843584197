from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from reconciler.errors import UsageError
from reconciler.git.git import GitError, Remote, Secret, Trouble, check_remote, scheme_of, ssh_command
from reconciler.git.source import Commit, Source
from tests.cli.support import QuietServer
from tests.controller.repos import Repo, over_http, ssh_key

TOKEN = "ghs_abcDEF123456"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "served" / "repo")
    repo.commit({"live/spec.yaml": "a: 1\n", "other.yaml": "b: 2\n"}, "The first")
    return repo


def source(tmp_path: Path, url: object, path: str = "", **more: object) -> Source:
    found = Source(tmp_path / "state", Remote(str(url), **more), path, timeout=60)  # type: ignore[arg-type]
    found.open()
    return found


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_followed_to_its_newest_commit(tmp_path: Path, repo: Repo) -> None:
    following = source(tmp_path, repo.folder)
    commit = following.fetch()
    assert (commit.id, commit.subject, commit.author, commit.verified) == (repo.head, "The first", "Ada", False)
    with following.files(commit) as folder:
        assert names(folder) == ["live/spec.yaml", "other.yaml"]
    assert not folder.exists()


def test_only_the_given_directory_is_written(tmp_path: Path, repo: Repo) -> None:
    following = source(tmp_path, repo.folder, "live")
    with following.files(following.fetch()) as folder:
        assert names(folder) == ["spec.yaml"]


@pytest.mark.parametrize("path", ["nowhere", "other.yaml", "../.."])
def test_a_path_that_is_no_directory_of_the_commit_is_an_error(tmp_path: Path, repo: Repo, path: str) -> None:
    following = source(tmp_path, repo.folder, path)
    commit = following.fetch()
    with pytest.raises(GitError, match="has no directory") as caught, following.files(commit):
        pass
    assert caught.value.trouble is Trouble.NO_PROJECT


def followed(following: Source) -> Commit:
    commit = following.fetch()
    following.check_descends(commit)
    following.follow(commit)
    return commit


def rewrite(repo: Repo) -> None:
    repo.commit({"live/spec.yaml": "a: 2\n"}, "Rewritten", "--amend")


def move_back(repo: Repo) -> None:
    repo.git("reset", "--quiet", "--hard", "HEAD~1")


def move_far_back(repo: Repo) -> None:
    repo.git("reset", "--quiet", "--hard", "HEAD~60")


def start_anew(repo: Repo) -> None:
    repo.git("checkout", "--quiet", "--orphan", "new")
    repo.commit({}, "Another root")
    repo.git("branch", "--force", "main")
    repo.git("checkout", "--quiet", "main")


@pytest.mark.parametrize("how", [rewrite, move_back, move_far_back, start_anew])
@pytest.mark.parametrize("restart", [False, True])
def test_a_branch_that_was_moved_back_or_rewritten_is_not_followed(
    tmp_path: Path, repo: Repo, how: Callable[[Repo], None], restart: bool
) -> None:
    for number in range(70):
        repo.git("commit", "--quiet", "--allow-empty", "-m", f"{number}")
    following = source(tmp_path, repo.folder.as_uri())
    first = followed(following)
    how(repo)
    if restart:
        following = source(tmp_path, repo.folder.as_uri())
    for _ in range(2):
        with pytest.raises(GitError, match=f"does not descend from the followed commit {first.short}") as caught:
            followed(following)
        assert caught.value.trouble is Trouble.REWOUND
    repo.git("reset", "--quiet", "--hard", first.id)
    repo.commit({"live/spec.yaml": "a: 3\n"})
    assert followed(following).id == repo.head


@pytest.mark.parametrize("commits", [1, 49, 50, 120])
def test_a_commit_that_descends_is_followed_from_any_distance(tmp_path: Path, repo: Repo, commits: int) -> None:
    following = source(tmp_path, repo.folder.as_uri())
    followed(following)
    for number in range(commits):
        repo.git("commit", "--quiet", "--allow-empty", "-m", f"{number}")
    assert followed(following).id == repo.head


def test_a_merge_of_an_older_branch_is_followed(tmp_path: Path, repo: Repo) -> None:
    repo.git("branch", "side")
    for number in range(60):
        repo.commit({"live/spec.yaml": f"a: {number}\n"})
    following = source(tmp_path, repo.folder.as_uri())
    followed(following)
    repo.git("checkout", "--quiet", "side")
    repo.commit({"side.yaml": "a: 1\n"})
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "-m", "merged", "side")
    assert followed(following).id == repo.head


def test_an_old_history_is_not_fetched(tmp_path: Path, repo: Repo) -> None:
    for number in range(60):
        repo.commit({"live/spec.yaml": f"a: {number}\n"})
    following = source(tmp_path, repo.folder.as_uri())
    commit = following.fetch()
    assert following._git.output("rev-list", "--count", commit.id) == "50"


def test_a_missing_branch_and_an_unreachable_forge_are_different_errors(tmp_path: Path, repo: Repo) -> None:
    with pytest.raises(GitError, match="has no branch 'missing'") as caught:
        source(tmp_path, repo.folder, branch="missing").fetch()
    assert caught.value.trouble is Trouble.NO_BRANCH
    shutil.rmtree(repo.folder)
    with pytest.raises(GitError, match="cannot reach") as caught:
        source(tmp_path, repo.folder).fetch()
    assert caught.value.trouble is Trouble.UNREACHABLE


def test_a_private_repository_is_fetched_with_its_token(tmp_path: Path, repo: Repo) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    with over_http(repo.folder.parent, password=TOKEN) as (url, seen):
        following = source(tmp_path, f"{url}/repo/.git", token=Secret(file=str(token)))
        assert following.fetch().id == repo.head
        assert any(seen)
        token.write_text("stale")
        repo.commit({})
        with pytest.raises(GitError, match="cannot reach") as caught:
            following.fetch()
        token.write_text(TOKEN)
        assert following.fetch().id == repo.head
    assert "stale" not in str(caught.value)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert TOKEN.encode() not in everything


def test_the_token_is_in_no_argument_and_only_where_the_network_is(
    tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, record = shutil.which("git"), tmp_path / "record"
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\n{{ echo "ARGS $*"; env | grep -c "{TOKEN}"; }} >> {record}\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-git")
    with over_http(repo.folder.parent, password=TOKEN) as (url, _):
        following = source(tmp_path, f"{url}/repo/.git", token=Secret(value=TOKEN))
        with following.files(following.fetch()):
            pass
    lines = record.read_text().splitlines()
    calls = dict(zip(lines[::2], lines[1::2], strict=True))
    assert not any(TOKEN in call for call in calls)
    with_token = {call.split()[1] for call, count in calls.items() if count != "0"}
    assert with_token == {"ls-remote", "fetch"}


def test_a_redirect_is_not_followed_so_that_no_other_host_gets_the_token(tmp_path: Path, repo: Repo) -> None:
    with over_http(repo.folder.parent, password=TOKEN, answer=lambda _: 302) as (url, seen):
        with pytest.raises(GitError, match=r"cannot reach .*; use the final URL \(GitLab's ends in \.git\)"):
            source(tmp_path, f"{url}/repo/.git", token=Secret(value=TOKEN)).fetch()
        assert not any(seen)


def test_a_forge_that_never_answers_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        following = Source(tmp_path / "state", Remote(f"http://127.0.0.1:{silent.getsockname()[1]}/repo"), timeout=0.5)
        with pytest.raises(GitError, match=r"no answer within|cannot reach"):
            following.fetch() if following.open() is None else None


def test_nothing_of_the_repository_is_run(tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a filter that attributes name, nor a hook, nor a submodule, nor what the machine's own configuration says."""
    trap = tmp_path / "sprung"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {trap}\n\trequired = true\n[core]\n\tfsmonitor = touch {trap}\n\thooksPath = {home}\n'
    )
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (home / hook).write_text(f"#!/bin/sh\ntouch {trap}\n")
        (home / hook).chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    repo.commit(
        {
            ".gitattributes": "* filter=evil\n",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = {tmp_path}/nowhere\n',
        }
    )
    following = source(tmp_path, repo.folder)
    with following.files(following.fetch()) as folder:
        assert (folder / "live/spec.yaml").read_text() == "a: 1\n"
    assert not trap.exists()
    repo.commit({".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = {tmp_path}/nowhere\n\tupdate = !touch {trap}\n'})
    with pytest.raises(GitError, match="disallowed submodule update"):
        following.fetch()
    assert not trap.exists()


def test_a_damaged_mirror_is_recreated_and_stale_locks_are_ignored(tmp_path: Path, repo: Repo) -> None:
    first = source(tmp_path, repo.folder)
    first.follow(first.fetch())
    mirror = tmp_path / "state" / "mirror.git"
    (mirror / "shallow.lock").touch()
    (mirror / "refs" / "fetched").mkdir(exist_ok=True)
    (mirror / "refs" / "fetched" / "head.lock").touch()
    again = Source(tmp_path / "state", Remote(str(repo.folder)))
    found = again.open()
    assert found is not None
    assert found.id == repo.head
    repo.commit({})
    assert again.fetch().id == repo.head
    for pack in (mirror / "objects").rglob("*"):
        if pack.is_file():
            pack.chmod(stat.S_IRUSR | stat.S_IWUSR)
            pack.write_bytes(b"rubbish")
    broken = Source(tmp_path / "state", Remote(str(repo.folder)))
    broken.open()
    assert broken.fetch().id == repo.head


def test_what_was_followed_is_known_after_a_restart(tmp_path: Path, repo: Repo) -> None:
    first = source(tmp_path, repo.folder)
    commit = first.fetch()
    assert Source(tmp_path / "state", Remote(str(repo.folder))).open() is None
    first.follow(commit)
    shutil.rmtree(repo.folder)
    assert Source(tmp_path / "state", Remote(str(repo.folder))).open() == commit


def test_what_was_followed_is_of_that_repository_and_branch_alone(tmp_path: Path, repo: Repo) -> None:
    first = source(tmp_path, repo.folder)
    first.follow(first.fetch())
    for url, more in ((tmp_path / "served" / "typo", {}), (repo.folder, {"branch": "release"})):
        assert Source(tmp_path / "state", Remote(str(url), **more), timeout=60).open() is None  # type: ignore[arg-type]
    found = Source(tmp_path / "state", Remote(str(repo.folder)), timeout=60).open()
    assert found is not None
    assert found.id == repo.head


def test_only_commits_of_allowed_signers_are_followed(tmp_path: Path, repo: Repo) -> None:
    listed, stranger = ssh_key(tmp_path / "listed"), ssh_key(tmp_path / "stranger")
    signers = tmp_path / "signers"
    signers.write_text(f'ada@example.com namespaces="git" {listed}\n')
    following = source(tmp_path, repo.folder, allowed_signers=str(signers))
    with pytest.raises(GitError, match="not signed by an allowed signer") as caught:
        following.fetch()
    assert caught.value.trouble is Trouble.UNVERIFIED
    repo.sign_with(tmp_path / "listed")
    repo.commit({"live/spec.yaml": "a: 2\n"}, "Signed", "-S")
    commit = following.fetch()
    assert (commit.id, commit.verified) == (repo.head, True)
    following.follow(commit)
    repo.sign_with(tmp_path / "stranger")
    repo.commit({"live/spec.yaml": "a: 3\n"}, "Signed by a stranger", "-S")
    with pytest.raises(GitError, match="not signed by an allowed signer"):
        following.fetch()
    signers.write_text(f'eve@example.com namespaces="git" {stranger}\n')
    # The key that signed the followed commit is no longer allowed: a restart does not resume from it.
    assert Source(tmp_path / "state", following.remote).open() is None


@pytest.mark.parametrize(
    ("window", "date"),
    [('valid-before="20200101"', "2019-06-01T00:00:00Z"), ('valid-after="20990101"', "2099-06-01T00:00:00Z")],
)
def test_a_commit_with_the_date_of_a_key_that_is_not_valid_now_is_not_followed(
    tmp_path: Path, repo: Repo, window: str, date: str
) -> None:
    signers, key = tmp_path / "signers", ssh_key(tmp_path / "key")
    signers.write_text(f'ada@example.com namespaces="git",{window} {key}\n')
    repo.sign_with(tmp_path / "key")
    repo.commit({"live/spec.yaml": "a: 2\n"}, "Caf\u00e9", "-S", env={"GIT_COMMITTER_DATE": date})
    assert repo.git("-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-commit", "HEAD") == ""
    following = source(tmp_path, repo.folder, allowed_signers=str(signers))
    with pytest.raises(GitError, match="not allowed now; its date does not count") as caught:
        following.fetch()
    assert caught.value.trouble is Trouble.UNVERIFIED


def test_a_commit_followed_while_its_key_was_valid_stays_after_the_key_expires(tmp_path: Path, repo: Repo) -> None:
    signers, key = tmp_path / "signers", ssh_key(tmp_path / "key")
    signers.write_text(f'ada@example.com namespaces="git" {key}\n')
    repo.sign_with(tmp_path / "key")
    # Bytes that are not UTF-8, and a carriage return: the signature is over them as they are.
    (tmp_path / "message").write_bytes(b"Caf\xe9\r\n\r\nmore\n")
    dated = {"GIT_COMMITTER_DATE": "2019-06-01T00:00:00Z"}
    message = ("-F", str(tmp_path / "message"), "--cleanup=verbatim")
    repo.git("-c", "i18n.commitEncoding=latin1", "commit", "-q", "-S", "--allow-empty", *message, env=dated)
    following = source(tmp_path, repo.folder, allowed_signers=str(signers))
    commit = following.fetch()
    following.follow(commit)
    signers.write_text(f'ada@example.com namespaces="git",valid-before="20200101" {key}\n')
    again = Source(tmp_path / "state", following.remote)
    assert again.open() == commit
    assert again.fetch() == commit
    repo.commit({}, "Another", "-S", env=dated)
    with pytest.raises(GitError, match="not allowed now"):
        again.fetch()


def test_a_signed_tree_with_other_content_is_not_verified(tmp_path: Path, repo: Repo) -> None:
    signers = tmp_path / "signers"
    signers.write_text(f"ada@example.com {ssh_key(tmp_path / 'key')}\n")
    repo.sign_with(tmp_path / "key")
    repo.commit({}, "Signed", "-S")
    forged = repo.git("cat-file", "commit", "HEAD").replace("Signed", "Forged")
    (repo.folder / "forged").write_text(forged + "\n")
    repo.git("update-ref", "refs/heads/main", repo.git("hash-object", "-t", "commit", "-w", "forged"))
    with pytest.raises(GitError, match="not signed by an allowed signer"):
        source(tmp_path, repo.folder, allowed_signers=str(signers)).fetch()


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("https://user:secret@git.example.com/x.git", {}, "contains a user name or password"),
        ("https://token@git.example.com/x.git", {}, "contains a user name or password"),
        ("ext::sh -c touch% /tmp/x", {}, "unsupported repository URL"),
        ("git://git.example.com/x.git", {}, "unsupported repository URL"),
        ("--upload-pack=touch /tmp/x", {}, "unsupported repository URL"),
        ("http://git.example.com/x.git", {"token": Secret(value="t")}, "sent unencrypted over http"),
        ("git@git.example.com:x.git", {}, "known hosts"),
        ("https://git.example.com/x.git", {"branch": "--force"}, "not a valid branch name"),
        ("https://git.example.com/x.git", {"branch": "a..b"}, "not a valid branch name"),
        (
            "https://git.example.com/x.git",
            {"allowed_signers": "/nowhere/signers"},
            "cannot read the allowed signers file",
        ),
        (
            "https://git.example.com/x.git",
            {"token": Secret(file="/nowhere/token")},
            "cannot read the secret from /nowhere/token",
        ),
    ],
)
def test_what_cannot_be_followed_safely_is_refused_before_git_is_called(
    url: str, more: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check_remote(Remote(url, **more))  # type: ignore[arg-type]
    assert ":secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("git@h.example:a/b.git", "ssh"),
        ("ssh://h/a", "ssh"),
        ("HTTPS://h/a", "https"),
        ("/srv/a", "file"),
        ("./a", "file"),
        ("ext::x", "ext"),
    ],
)
def test_the_transport_is_taken_from_the_url(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


def test_ssh_uses_one_key_and_one_known_hosts_file(tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ssh notes how it was called and runs what the forge would run."""
    record = tmp_path / "record"
    stand_in = tmp_path / "bin" / "ssh"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {record}\nfor last; do :; done\nexec sh -c "$last"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    ssh_key(tmp_path / "deploy key")
    hosts = tmp_path / "known_hosts"
    hosts.write_text("git.example.com ssh-ed25519 AAAA\n")
    remote = Remote(f"git@git.example.com:{repo.folder}", ssh_key=str(tmp_path / "deploy key"), known_hosts=str(hosts))
    check_remote(remote)
    following = Source(tmp_path / "state", remote)
    following.open()
    assert following.fetch().id == repo.head
    called = record.read_text().splitlines()
    assert called[: len(ssh_command(remote)) - 1] == list(ssh_command(remote))[1:]
    assert {"StrictHostKeyChecking=yes", f"UserKnownHostsFile={hosts}", "BatchMode=yes"} <= set(called)


def test_an_old_git_is_refused_because_it_cannot_be_restricted(
    tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = source(tmp_path, repo.folder)
    old = tmp_path / "bin" / "git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(GitError, match=r"git 2\.34 or newer is required"):
        following.fetch()


def test_a_stop_does_not_wait_for_a_forge_without_an_answer(tmp_path: Path) -> None:
    import socket
    import threading

    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        following = Source(
            tmp_path / "state", Remote(f"http://127.0.0.1:{silent.getsockname()[1]}/repo"), timeout=600, stop=stop
        )
        following.open()
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(GitError, match="interrupted by shutdown"):
            following.fetch()


def test_a_small_push_that_unpacks_into_much_is_not_written(tmp_path: Path, repo: Repo) -> None:
    # A large file of zeros, and 600 MB in many: packs of a few KB.
    (repo.folder / "specs").mkdir()
    (repo.folder / "specs" / "large.yaml").write_bytes(bytes(40 << 20))
    following = source(tmp_path, repo.folder)
    with measured(tmp_path / "state") as most:
        repo.commit({b"\xff.yaml".decode("utf-8", "surrogateescape"): "c: 3\n"}, "A bomb")
        commit = following.fetch()
        with following.files(commit) as folder:
            assert names(folder)[:2] == ["live/spec.yaml", "other.yaml"]
            assert len(names(folder)) == 3
            (missing,) = following.missing(commit, folder)
            assert (missing.path, missing.what) == (
                "specs/large.yaml",
                "has 40 MiB, more than the 16 MiB of a spec file",
            )
    assert most() < 20 << 20
    (repo.folder / "zeros").write_bytes(bytes(15 << 20))
    blob = repo.git("hash-object", "-w", "zeros")
    many = made_tree(repo, "".join(f"100644 blob {blob}\t{number}.yaml\n" for number in range(40)))
    push_tree(repo, made_tree(repo, f"{repo.git('ls-tree', 'HEAD')}\n040000 tree {many}\tmany\n"))
    commit = following.fetch()
    with pytest.raises(GitError, match=r"has \d+ files of 600 MiB, more than 100,000 or 512 MiB") as caught:
        following.missing(commit, tmp_path)
    assert caught.value.trouble is Trouble.NO_PROJECT
    with pytest.raises(GitError, match="--path"), following.files(commit):
        pass
    narrow = source(tmp_path, repo.folder, "live")
    with narrow.files(narrow.fetch()) as folder:
        assert names(folder) == ["spec.yaml"]


@contextmanager
def measured(folder: Path) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the most bytes that the files below a folder had, outside git's objects' own size."""
    sizes = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            total = 0
            for parent, _, files in os.walk(folder):  # which passes over what is gone
                for name in files:
                    with suppress(OSError):
                        total += Path(parent, name).stat().st_size
            sizes[0] = max(sizes[0], total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: sizes[0]
    finally:
        ended.set()
        thread.join()


def made_tree(repo: Repo, content: str) -> str:
    return subprocess.run(
        ["git", "mktree"], cwd=repo.folder, input=content, capture_output=True, text=True, check=True
    ).stdout.strip()


def push_tree(repo: Repo, tree: str) -> None:
    repo.git("update-ref", "refs/heads/main", repo.git("commit-tree", "-p", "HEAD", "-m", "A bomb", tree))


@pytest.mark.parametrize("levels", [5, 9])
def test_a_tree_that_contains_itself_many_times_is_refused_soon(tmp_path: Path, repo: Repo, levels: int) -> None:
    tree = repo.git("rev-parse", "HEAD^{tree}")
    for _ in range(levels):
        tree = made_tree(repo, "".join(f"040000 tree {tree}\t{number}\n" for number in range(10)))
    push_tree(repo, tree)
    following = source(tmp_path, repo.folder)
    commit = following.fetch()
    said = "has 200,000 files of 0 MiB, more than 100,000 or" if levels == 5 else "git wrote more than 64 MiB"
    with pytest.raises(GitError, match=said), following.files(commit):
        pass


@pytest.mark.parametrize("what", ["refs", "noise"])
def test_a_remote_that_never_ends_is_stopped(tmp_path: Path, what: str) -> None:
    line = f"{'a' * 40} refs/heads/{'x' * 60_000}\n".encode()
    packet = b"%04x%s" % (len(line) + 4, line) if what == "refs" else b"%04x\x02%s" % (60_005, b"n" * 60_000)
    sent = 0

    class Flood(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

        def do_GET(self) -> None:
            nonlocal sent
            self.send_response(200)
            self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
            self.end_headers()
            self.wfile.write(b"001e# service=git-upload-pack\n0000")
            with suppress(OSError):
                while True:
                    self.wfile.write(packet * 16)
                    sent += len(packet) * 16

    server = QuietServer(("127.0.0.1", 0), Flood)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        following = source(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/repo.git")
        with pytest.raises(GitError):
            following.fetch()
    finally:
        server.shutdown()
        server.server_close()
    assert sent < 1_500 << 20
