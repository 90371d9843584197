"""``init``: writes a first repository: project file, a spec, schemas, what git ignores, and workflows for the forge.

It prompts on a terminal for values that no option gives, and overwrites nothing. The resources of an account are read by ``export``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.cli.options import Subparsers, begin, command_of, print_lines
from reconciler.cli.spec import schema_texts
from reconciler.errors import ExitCode, UsageError, os_reason

if TYPE_CHECKING:
    from reconciler.cli.options import Context
    from reconciler.workflow.export import Exported

FORGES = ("github", "gitlab", "none")
_SANDBOX, _REAL = "dev", "prod"
_IGNORED = (".sandbox/", ".ivs-reconciler/", "*.plan.json", "*.plan.json.applied", "ivs-outputs.env")
_WORKFLOWS = {
    "github": {f"github/{name}.yml": f".github/workflows/ivs-{name}.yml" for name in ("preview", "apply", "drift")},
    "gitlab": {"gitlab/.gitlab-ci.yml": ".gitlab-ci.yml"},
    "none": {},
}

_PROJECT = """\
# yaml-language-server: $schema=schemas/project.schema.json
stack: {stack}
targets:
  dev:
    region: {region}
    sandbox: .sandbox/dev.db   # the embedded server: no AWS account needed
"""
_ACCOUNT = """\
  prod:
    region: {region}
    accountId: "{account}"
"""
_SPEC = """\
# yaml-language-server: $schema=../schemas/spec.schema.json
channels:
  main: {}
  # recorded: {recordingConfiguration: archive, streamKey: {}}
# recordingConfigurations:
#   archive: {destinationConfiguration: {s3: {bucketName: my-bucket}}}
"""
_KEYS = """\
# Public keys

PEM files of playback key pairs, named in a spec as `publicKeyMaterial: {file: keys/web.pem}`.
Never put a private key here: it stays with what signs the tokens.
"""


class _Answers(NamedTuple):
    """What the repository is to have. ``account`` is empty for the sandbox alone."""

    stack: str
    region: str
    account: str
    forge: str
    from_account: bool
    no_workflows: str = ""
    """Why no workflow is written although there is a forge."""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "init",
        parents=[common],
        help="write a first repository: project file, spec, workflows",
        description="Write a first repository to the current folder, or that of -C: a project file with the sandbox and your account as targets, "
        "a spec, schemas for editors, what git ignores, and workflows. Prompts on a terminal for values that no option gives. Overwrites nothing.",
    )
    parser.add_argument("--stack", metavar="NAME", help="name of the stack (default: that of the folder)")
    parser.add_argument("--region", metavar="REGION", help="AWS region")
    parser.add_argument("--account-id", metavar="ID", help="AWS account of the target prod (default: the sandbox only)")
    parser.add_argument(
        "--forge", choices=FORGES, help="write the workflows of this forge (default: that of the git remote)"
    )
    parser.add_argument(
        "--from-account",
        action="store_true",
        help="export the resources of the account to spec files and an adopt file; read-only in AWS",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 2 if something of the account could not be exported whole."""
    from reconciler.spec.project import DEFAULT_NAME
    from reconciler.workflow.export import shown

    context = begin(args)
    if context.config or context.targets:
        raise UsageError(f"init writes {DEFAULT_NAME} with targets of its own; remove --config and --target")
    folder = context.directory.absolute()
    project_file = folder / DEFAULT_NAME
    if os.path.lexists(project_file):
        raise UsageError(
            f"{shown(project_file)}: already exists; init writes a first repository and overwrites nothing; choose another folder with -C"
        )
    answers = _for_workflows(_answers(args, folder), folder)
    exported = _export(answers, context, project_file) if answers.from_account else None
    account = answers.account or (exported.exports[0].account_id if exported else "")
    files, kept = _files(folder, answers._replace(account=account), exported)
    _write(files)
    lines = [f"  {shown(path)}" for path in sorted(files)]
    lines += [f"  {shown(path)}  (exists, not changed{why})" for path, why in sorted(kept.items())]
    lines += [f"No workflows: {answers.no_workflows}"] if answers.no_workflows else []
    print_lines(sys.stdout, "Written:", *lines, "", *_next(context, answers.forge, account, exported))
    if exported and exported.gaps:
        sys.stdout.flush()
        print_lines(sys.stderr, "Not exported in full:", *exported.gaps)
        return ExitCode.DIFFERENT
    return ExitCode.OK


def _answers(args: argparse.Namespace, folder: Path) -> _Answers:
    """Return the options, and what a terminal answers for those that are missing. Raises ``UsageError`` without a terminal."""
    asks = sys.stdin.isatty()
    found = _forge_of(folder)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-") or "my-stack"
    stack = _value("--stack", args.stack, _check_stack, "Name of the stack", name, asks=asks, default=name)
    region = _value("--region", args.region, _check_region, "AWS region", "us-west-2", asks=asks)
    question = "AWS account id (empty for the sandbox only)"
    # The account of an export is that of the credentials, if none is named.
    account = _value(
        "--account-id", args.account_id, _check_account, question, "", asks=asks and not args.from_account, default=""
    )
    forge = args.forge or found or "none"
    if asks and args.forge is None and account:
        forge = _value("--forge", None, _check_forge, f"Workflows for ({', '.join(FORGES)})", forge, asks=True)
    from_account = args.from_account
    if asks and account and not from_account:
        answer = _value("", None, _check_yes, "Export the resources of the account (yes or no)", "no", asks=True)
        from_account = answer == "yes"
    return _Answers(stack, region, account, forge, from_account)


def _for_workflows(answers: _Answers, folder: Path) -> _Answers:
    """Return the answers without a forge if its workflows could not run here."""
    from reconciler.git.clone import top_of

    if answers.forge == "none":
        return answers
    if not answers.account and not answers.from_account:
        why = "they plan a real account, and there is none yet"
    elif (top := top_of(folder)) is not None and top.resolve() != folder.resolve():
        why = f"they belong at the root of the repository; see examples/{answers.forge}, and set the directory there"
    else:
        return answers
    return answers._replace(forge="none", no_workflows=why)


def _value(
    option: str,
    given: str | None,
    check: Callable[[str], str],
    question: str,
    proposal: str,
    *,
    asks: bool,
    default: str | None = None,
) -> str:
    """Return a value that an option or the terminal gave. ``check`` returns what is wrong with one. Raises ``UsageError``."""
    from reconciler.terminal import write_fitted

    if given is not None or not asks:
        value = given if given is not None else default
        if value is None:
            raise UsageError(f"cannot prompt: no terminal. Add {option} VALUE ({question})")
        if wrong := check(value):
            raise UsageError(f"{option}: {wrong}" if given is not None else f"{wrong}; add {option} VALUE")
        return value
    while True:
        write_fitted(f"{question}{f' [{proposal}]' if proposal else ''}: ", sys.stderr)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise UsageError("the input ended before all questions were answered; nothing was written")
        value = line.strip() or proposal
        if not (wrong := check(value)):
            return value
        print_lines(sys.stderr, wrong)


def _check_stack(value: str) -> str:
    from reconciler.spec.project_models import STACK_PATTERN

    is_valid = re.fullmatch(STACK_PATTERN, value) is not None
    return "" if is_valid else f"{value!r} is not a stack name: use up to 128 letters, digits, dots, _ and -"


def _check_region(value: str) -> str:
    from reconciler.model.target import HOME_REGIONS
    from reconciler.spec.problems import suggestion

    known = f"write one of {', '.join(HOME_REGIONS)}"
    return (
        ""
        if value in HOME_REGIONS
        else f"IVS is not available in {value!r}; {suggestion(value, HOME_REGIONS, otherwise=known)}"
    )


def _check_account(value: str) -> str:
    return "" if re.fullmatch(r"([0-9]{12})?", value) else f"{value!r} is not an account id: write 12 digits"


def _check_forge(value: str) -> str:
    return "" if value in FORGES else f"{value!r} is not one of {', '.join(FORGES)}"


def _check_yes(value: str) -> str:
    return "" if value in ("yes", "no") else "write yes or no"


def _forge_of(folder: Path) -> str:
    """Return the forge that the git remote's host names; empty if none does."""
    from reconciler.git.clone import git_output

    url = git_output(folder, "config", "--get", "remote.origin.url") or ""
    host = re.split("[/:]", re.sub(r"^([a-z+]+://)?([^@/]*@)?", "", url.lower()))[0]
    return next((forge for forge in FORGES if forge in host), "")


def _export(answers: _Answers, context: Context, project_file: Path) -> Exported:
    """Read the account and return its spec files; nothing is written. Raises ``AwsError`` and ``UsageError``."""
    from reconciler.model.target import Target
    from reconciler.workflow.export import Wanted, export_targets, project_without_file
    from reconciler.workflow.progress import reading

    project = project_without_file(project_file, answers.region, answers.account or None)
    # The sandbox is a target too, so the commands that come next name the other one.
    targets = {
        **project.targets,
        _SANDBOX: Target(_SANDBOX, answers.region, sandbox=str(project_file.parent / ".sandbox")),
    }
    project = project._replace(stack=answers.stack, targets=targets)
    wanted = Wanted(context.directory, command=command_of(context))
    with reading(sys.stderr) as progress:
        return export_targets(project, (project.targets[_REAL],), wanted, progress=progress)


def _files(folder: Path, answers: _Answers, exported: Exported | None) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return the text of each file to write, and the files that exist, with what they lack. Raises ``UsageError``."""
    from reconciler.export.exporter import to_yaml
    from reconciler.spec.project import DEFAULT_NAME
    from reconciler.workflow.export import shown

    has_specs = any((folder / "specs").rglob("*.y*ml"))
    # A name such as 2026 is a number without quotes; NO is one of the words that other readers take for another type.
    stack = to_yaml([answers.stack]).strip()[1:-1]
    project = _PROJECT.format(stack=stack, region=answers.region)
    if answers.account:
        project += _ACCOUNT.format(region=answers.region, account=answers.account)
    texts = {
        DEFAULT_NAME: project,
        "keys/README.md": _KEYS,
        ".gitignore": "".join(f"{pattern}\n" for pattern in _IGNORED),
        **{f"schemas/{name}": text for name, text in schema_texts().items()},
    }
    if exported is None and not has_specs:
        texts["specs/live.yaml"] = _SPEC
    if answers.account:
        texts |= dict(_workflows(answers))
    files = {folder / name: text for name, text in texts.items()}
    if exported:
        if there := sorted(path for path in exported.files if os.path.lexists(path)):
            lines = [f"{shown(path)}: already exists" for path in there]
            raise UsageError("\n".join([*lines, "Nothing was written; move the files away, or use export --out DIR"]))
        files |= exported.files
    kept = {path: _lacks(path) for path in files if os.path.lexists(path)}
    return {path: text for path, text in files.items() if path not in kept}, kept


def _lacks(path: Path) -> str:
    """Return which patterns an existing ``.gitignore`` lacks, as the end of a sentence."""
    if path.name != ".gitignore":
        return ""
    try:
        there = set(path.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ""
    lacking = [pattern for pattern in _IGNORED if pattern not in there]
    return f"; add {' '.join(lacking)}" if lacking else ""


def _workflows(answers: _Answers) -> Iterator[tuple[str, str]]:
    """Yield the workflows of a forge, with the region, the account and the target filled in."""
    for source, name in _WORKFLOWS[answers.forge].items():
        text = _template(source).replace("123456789012", answers.account).replace("us-west-2", answers.region)
        if answers.forge == "github":
            text = re.sub(r"(?m)^( +)command: (plan|drift|diff)$", rf"\1command: \2\n\1targets: {_REAL}", text)
            text = re.sub(
                r" Copy it to \.github/workflows, and set.*", " Set the roles and the repository of the action.", text
            )
        else:
            text = re.sub(r"ivs-reconciler (plan|drift|diff) ", rf"ivs-reconciler \1 -t {_REAL} ", text)
        yield name, text


def _template(name: str) -> str:
    """Return a workflow of the examples, which a wheel has inside the package."""
    package = Path(__file__).parent.parent
    for folder in (package / "examples", package.parent / "examples"):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise UsageError(f"this installation lacks examples/{name}; use --forge none")


def _write(files: Mapping[Path, str]) -> None:
    from reconciler.files import replace_file
    from reconciler.spec.project import DEFAULT_NAME
    from reconciler.workflow.export import shown

    # The project file comes last: until it exists, init can be run again.
    for path in sorted(files, key=lambda path: path.name == DEFAULT_NAME):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, files[path], mode=None)
        except OSError as error:
            raise UsageError(
                f"{shown(path)}: cannot be written ({os_reason(error)}); choose another folder with -C"
            ) from None


_TO_SET = {
    "github": "Before the workflows run, set the roles and the repository of the action in .github/workflows.",
    "gitlab": "Before the pipelines run, set the roles in .gitlab-ci.yml, and the variable GITLAB_TOKEN as it says there.",
}


def _next(context: Context, forge: str, account: str, exported: Exported | None) -> Iterator[str]:
    yield from _commands(context, account, exported)
    if forge in _TO_SET:
        yield _TO_SET[forge]


def _commands(context: Context, account: str, exported: Exported | None) -> Iterator[str]:
    start = " ".join(command_of(context))
    yield "Next:"
    if exported:
        yield from (f"  {command}" for command in exported.commands)
        return
    yield f"  {start} plan -t {_SANDBOX}     # against the sandbox, without AWS"
    yield f"  {start} apply -t {_SANDBOX}"
    if account:
        yield f"  {start} plan -t {_REAL}    # against account {account}"
    else:
        yield "For an account, add a target with its region and accountId to ivs-reconciler.yaml."
