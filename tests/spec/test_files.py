"""Which files are read, and what is said about those that cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.errors import SpecError
from reconciler.spec.project import load_project
from tests.spec.support import PROJECT, load, problems_of, write


def ids(folder: Path) -> list[str]:
    return [address.id for address in load(folder).resources]


def channel(name: str) -> str:
    return f"channels: {{{name}: }}\n"


def with_specs(*patterns: str) -> str:
    return f"{PROJECT}specs: [{', '.join(repr(pattern) for pattern in patterns)}]\n"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["specs/**/*.yaml"], ["a", "b", "c"]),
        (["specs/*.yaml"], ["a"]),
        (["specs/**"], ["a", "b", "c"]),
        (["specs/*/*.yaml"], ["b"]),
        (["**/c.yaml"], ["c"]),
        (["specs/one/../a.yaml"], []),
        (["specs/a.yaml", "specs/*.yaml", "./specs/a.yaml"], ["a"]),
        (["specs/[ab].yaml"], ["a"]),
        (["specs/?.yaml"], ["a"]),
        (["*.yaml"], []),
        (["specs/.hidden/*.yaml"], ["hidden"]),
        (["specs/*/two/c.yaml"], ["c"]),
    ],
)
def test_patterns_name_files(patterns: list[str], expected: list[str], tmp_path: Path) -> None:
    files = {
        "specs/a.yaml": channel("a"),
        "specs/one/b.yaml": channel("b"),
        "specs/one/two/c.yaml": channel("c"),
        "specs/.hidden/d.yaml": channel("hidden"),
        "specs/one/.e.yaml": channel("e"),
    }
    write(tmp_path, files, with_specs(*patterns))
    if expected:
        assert sorted(ids(tmp_path)) == expected
    elif patterns == ["*.yaml"]:
        assert load(tmp_path).resources == {}  # the project file is none of its own specs
    else:
        assert "is outside the project" in problems_of(tmp_path)[0]


def test_the_default_takes_both_suffixes(tmp_path: Path) -> None:
    write(tmp_path, {"specs/a.yaml": channel("a"), "specs/more/d.yml": channel("d")})
    assert sorted(ids(tmp_path)) == ["a", "d"]
    (tmp_path / "specs/a.yaml").unlink()
    assert ids(tmp_path) == ["d"]
    (tmp_path / "specs/more/d.yml").rename(tmp_path / "specs/a.yaml")
    assert ids(tmp_path) == ["d"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("specs/*.yaml", "specs/d.yml"),
        ("specs/*.yml", "specs/d.yaml"),
        ("specs/**/*.yaml", "specs/more/d.yml"),
        ("specs/*.yaml", "specs/d.YAML"),
        ("specs/*.yaml", "specs/d.Yml"),
        (None, "specs/more/d.YML"),
    ],
)
def test_a_spec_file_that_only_its_suffix_keeps_from_a_pattern_is_refused(
    pattern: str | None, name: str, tmp_path: Path
) -> None:
    suffix = ".yml" if pattern == "specs/*.yml" else ".yaml"
    files = {f"specs/a{suffix}": channel("a"), name: channel("d")}
    write(tmp_path, files, with_specs(pattern) if pattern else PROJECT)
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(f"{name}: looks like a spec file, but no pattern matches it")


def test_other_yaml_files_and_those_of_another_target_are_left_alone(tmp_path: Path) -> None:
    project = (
        "stack: acme\nspecs: ['**/*.yaml']\ntargets:\n"
        "  dev: {region: us-west-2, sandbox: x.db}\n"
        "  lab: {region: us-west-2, sandbox: y.db, specs: ['specs/lab.yml']}\n"
    )
    files = {
        "specs/a.yaml": channel("a"),
        "specs/lab.yml": channel("lab"),
        "mkdocs.yml": "site_name: x\n  # channels:\n",
        "specs/.hidden.yml": channel("h"),
    }
    write(tmp_path, files, project)
    assert ids(tmp_path) == ["a"]


def test_an_empty_folder_is_a_problem_that_names_the_pattern(tmp_path: Path) -> None:
    write(tmp_path, {})
    assert problems_of(tmp_path) == [
        'ivs-reconciler.yaml:1:1: pattern "specs/**/*.yaml" matches no files: directory specs/ does not exist; create it, or correct the pattern'
    ]
    (tmp_path / "specs").mkdir()
    assert problems_of(tmp_path) == [
        'ivs-reconciler.yaml:1:1: pattern "specs/**/*.yaml" matches no files; add a spec file to specs/, or correct the pattern'
    ]


def test_the_problem_of_a_target_s_own_pattern_is_at_that_pattern(tmp_path: Path) -> None:
    project = "stack: acme\ntargets:\n  dev:\n    region: us-west-2\n    sandbox: x.db\n    specs: [none/*.yaml]\n"
    assert problems_of(write(tmp_path, {}, project)) == [
        'ivs-reconciler.yaml:6:13: pattern "none/*.yaml" matches no files: directory none/ does not exist; create it, or correct the pattern'
    ]


def test_a_link_inside_the_project_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"specs/a.yaml": channel("a"), "shared/b.yaml": channel("b"), "shared/deep/c.yaml": channel("c")})
    (tmp_path / "specs" / "b.yaml").symlink_to("../shared/b.yaml")
    (tmp_path / "specs" / "deep").symlink_to("../shared/deep")
    (tmp_path / "specs" / "round").symlink_to("..")
    project = with_specs("specs/*.yaml", "specs/deep/*.yaml")
    assert sorted(ids(write(tmp_path, {}, project))) == ["a", "b", "c"]


def test_a_tree_of_links_that_go_round_ends(tmp_path: Path) -> None:
    write(tmp_path, {"specs/a.yaml": channel("a")})
    (tmp_path / "specs" / "round").symlink_to(".")
    assert ids(tmp_path) == ["a"]


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(channel("x"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "y.yaml").write_text(channel("y"))
    folder = write(tmp_path / "project", {"specs/a.yaml": channel("a")})
    (folder / "specs" / "x.yaml").symlink_to("../../outside.yaml")
    (folder / "specs" / "more").symlink_to("../../outside")
    (folder / "specs" / "gone.yaml").symlink_to("nowhere.yaml")
    assert problems_of(folder) == [
        "specs/gone.yaml: is a symbolic link to a file that does not exist; fix the link",
        "specs/more: is a symbolic link to a directory outside the project; move the directory into the project",
        "specs/x.yaml: is a symbolic link to a file outside the project; move the file into the project",
    ]


def test_a_project_folder_that_is_a_link_itself_is_fine(tmp_path: Path) -> None:
    write(tmp_path / "real", {"specs/a.yaml": channel("a"), "specs/b/c.yaml": channel("c")})
    (tmp_path / "link").symlink_to("real")
    assert ids(tmp_path / "link") == ["a", "c"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"specs/a.yaml": channel("a")})
    os.mkfifo(tmp_path / "specs" / "b.yaml")
    assert problems_of(tmp_path) == ["specs/b.yaml: is not a regular file; name a regular file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_or_folder_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, {"specs/a.yaml": channel("a"), "specs/b/c.yaml": channel("c")})
    (tmp_path / "specs" / "a.yaml").chmod(0)
    assert problems_of(tmp_path) == ["specs/a.yaml: cannot be read: permission denied; allow the file to be read"]
    (tmp_path / "specs" / "b").chmod(0)
    try:
        assert any("specs/b/: permission denied" in problem for problem in problems_of(tmp_path))
    finally:
        (tmp_path / "specs" / "b").chmod(0o700)


def test_a_file_that_is_not_utf_8_is_named_beside_the_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"specs/a.yaml": "channels: {Köln: }\n".encode("latin-1"), "specs/b.yaml": "channels: {b: {typ: BASIC}}\n"},
    )
    assert problems_of(tmp_path) == [
        "specs/a.yaml: is not UTF-8: invalid byte 0xf6 at offset 12, line 1; save it as UTF-8",
        'specs/b.yaml:1:16: channel/b: unknown field "typ"; did you mean "type"?',
    ]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "ivs-reconciler.yaml: project file not found in"),
        (lambda path: path.mkdir(), "ivs-reconciler.yaml: is a directory; pass a project file"),
        (lambda path: path.write_bytes(b"\xff"), "ivs-reconciler.yaml: is not UTF-8"),
        (lambda path: path.write_text("a: [\n"), "ivs-reconciler.yaml:2:1: not valid YAML"),
        (
            lambda path: path.write_text(PROJECT + "---\nx: y\n"),
            "ivs-reconciler.yaml:5:1: a project file must be a single document",
        ),
    ],
)
def test_a_project_file_that_cannot_be_read_is_a_problem(make: object, expected: str, tmp_path: Path) -> None:
    make(tmp_path / "ivs-reconciler.yaml")  # type: ignore[operator]
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(expected)


def test_another_project_file_can_be_named(tmp_path: Path) -> None:
    write(tmp_path, {"deploy/other.yaml": PROJECT.replace("acme", "other"), "deploy/specs/a.yaml": channel("a")})
    project = load_project(tmp_path, "deploy/other.yaml")
    assert (project.stack, project.root, project.path) == (
        "other",
        str(tmp_path / "deploy"),
        str(tmp_path / "deploy" / "other.yaml"),
    )
    with pytest.raises(SpecError, match=r"^none\.yaml: project file not found in .*; check the path$"):
        load_project(tmp_path, "none.yaml")


def test_the_project_file_is_not_looked_for_in_folders_above(tmp_path: Path) -> None:
    write(tmp_path, {"below/specs/a.yaml": channel("a")})
    with pytest.raises(SpecError):
        load_project(tmp_path / "below")


def test_a_key_file_is_limited_and_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "secret.pem").write_text("x")
    spec = "playbackKeyPairs: {a: {publicKeyMaterial: {file: big.pem}}, b: {publicKeyMaterial: {file: link.pem}}, c: {publicKeyMaterial: {file: /etc/passwd}}}\n"
    folder = write(tmp_path / "p", {"specs/a.yaml": spec, "big.pem": "x" * 70_000})
    (folder / "link.pem").symlink_to("../secret.pem")
    assert [problem.split(": ", 2)[2] for problem in problems_of(folder)] == [
        'publicKeyMaterial.file "big.pem" has 70,000 bytes, more than the limit of 65,536; check that it is the right file',
        'publicKeyMaterial.file "link.pem" is a symbolic link to a file outside the project; move the file into the project',
        'publicKeyMaterial.file "/etc/passwd" is outside the project; use a path below the directory of the project file',
    ]
