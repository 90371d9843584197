"""``export``: writes spec files and an adopt file from the live account. Read-only in AWS."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.drift import accept
from reconciler.cli.options import Subparsers, begin, command_of, print_lines, project_of
from reconciler.errors import AwsError, ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.cli.options import Context
    from reconciler.export.exporter import Filters
    from reconciler.model.target import Project, Target
    from reconciler.workflow.export import Exported


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "export",
        parents=[common],
        help="write spec files and an adopt file from the live account; read-only in AWS",
        description="Write spec files from the live account, and a file with the ARNs to adopt: unmanaged resources, and those of this stack "
        "that no other spec file defines. Resources of other stacks are left out. AWS is only read. "
        "Exit code 2: something could not be exported in full; stderr lists it.",
    )
    place = parser.add_argument_group("output")
    place.add_argument("--out", metavar="DIR", help="folder of the spec files (default: that of the project's specs)")
    place.add_argument(
        "--adopt-out", metavar="FILE", help="file for the ARNs to adopt (default: adopt.yaml beside the project file)"
    )
    place.add_argument(
        "--split",
        metavar="HOW",
        type=_split,
        default="kind",
        help="files by kind, by the value of a tag (tag:KEY), or none for one file (default: kind)",
    )
    place.add_argument(
        "--update",
        action="store_true",
        help="write drift into the existing spec files instead, keeping comments and order; drift --accept does so for one resource",
    )
    place.add_argument("--force", action="store_true", help="overwrite existing files")
    place.add_argument("--keys", metavar="DIR", help="look for the PEM files of playback key pairs in DIR")
    place.add_argument(
        "--names-from",
        metavar="FILE",
        action="append",
        default=[],
        help="output of terraform show -json or aws cloudformation describe-stack-resources: export what it lists, under its names, "
        "and write the steps that remove it from that tool; repeatable",
    )
    place.add_argument(
        "--stream-keys", action="store_true", help="manage the stream keys of channels too; one call for each channel"
    )
    chosen = parser.add_argument_group("filters; all that are given must match")
    chosen.add_argument(
        "--kind", metavar="KIND", action="append", default=[], type=_kind, help="only this kind; repeatable"
    )
    chosen.add_argument(
        "--tag", metavar="KEY[=VALUE]", action="append", default=[], help="only resources with this tag; repeatable"
    )
    chosen.add_argument(
        "--name", metavar="GLOB", action="append", default=[], help="only resources whose name matches; repeatable"
    )
    chosen.add_argument("--arn", metavar="ARN", action="append", default=[], help="only this resource; repeatable")
    without = parser.add_argument_group("without a project file")
    without.add_argument("--region", metavar="REGION", help="region to export")
    without.add_argument("--account-id", metavar="ID", help="refuse credentials of another account")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 2 if something could not be written whole. Raises ``AwsError`` for targets that could not be read."""
    from reconciler.report.words import plural
    from reconciler.workflow.export import Wanted, export_targets, write_files
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_failures

    context = begin(args)
    if args.update:
        return _update(args)
    project, targets = _project(args, context)
    wanted = Wanted(
        directory=context.directory,
        filters=_filters(args),
        split=args.split,
        out=args.out or "",
        adopt_out=args.adopt_out or "",
        keys=args.keys or "",
        names_from=tuple(args.names_from),
        command=command_of(context),
        stream_keys=args.stream_keys,
        force=args.force,
    )
    missed: dict[str, AwsError] = {}
    with reading(sys.stderr, len(targets)) as progress:
        exported = export_targets(project, targets, wanted, progress=progress, missed=missed)
    write_files(exported.files, force=args.force)
    print_lines(sys.stdout, *_summary(exported, project))
    if exported.gaps:
        sys.stdout.flush()
        print_lines(sys.stderr, "Not exported in full:", *exported.gaps)
    if failure := combine_failures(missed):
        sys.stdout.flush()
        raise AwsError(f"{failure}\n{plural(len(missed), 'target')} could not be read; the others are exported")
    return ExitCode.DIFFERENT if exported.gaps else ExitCode.OK


def _update(args: argparse.Namespace) -> int:
    others = (
        "out",
        "adopt_out",
        "force",
        "keys",
        "names_from",
        "stream_keys",
        "kind",
        "tag",
        "name",
        "arn",
        "region",
        "account_id",
    )
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(args, name)]
    if given:
        raise UsageError(
            f"--update cannot be combined with {', '.join(given)}: it writes drift into the existing spec files"
        )
    return accept(args, None)


def _project(args: argparse.Namespace, context: Context) -> tuple[Project, tuple[Target, ...]]:
    """Return the project and targets; without a project file, those of ``--region``."""
    from reconciler.spec.project import DEFAULT_NAME

    path = context.directory / (context.config or DEFAULT_NAME)
    if os.path.lexists(path):
        if args.region or args.account_id:
            raise UsageError(f"{path} states the region and account of each target; remove --region and --account-id")
        return project_of(context)
    if not args.region:
        raise UsageError(
            f"{path}: no project file; create one, pass its directory with -C, or name the region to export with --region"
        )
    from reconciler.workflow.export import project_without_file

    project = project_without_file(path, args.region, args.account_id)
    return project, tuple(project.targets.values())


def _filters(args: argparse.Namespace) -> Filters:
    from reconciler.export.exporter import Filters
    from reconciler.model.kinds import LISTED

    tags = [tag.partition("=") for tag in args.tag]
    return Filters(
        kinds=frozenset(args.kind) or frozenset(LISTED),
        tags=tuple((key, value if equals else None) for key, equals, value in tags),
        names=tuple(args.name),
        arns=frozenset(args.arn) or None,
    )


def _summary(exported: Exported, project: Project) -> Iterator[str]:
    from reconciler.workflow.export import found_kinds, shown

    for one in exported.exports:
        yield f"{one.target.name}: {found_kinds(one.entries) or 'nothing to export'}"
        yield from (f"  {note}" for note in one.notes)
    if not exported.files:
        return
    yield ""
    yield from (f"  {shown(path)}" for path in sorted(exported.files))
    yield ""
    yield from _next(exported, project)


def _next(exported: Exported, project: Project) -> Iterator[str]:
    """Yield what to do next."""
    from reconciler.export.handover import PAGE
    from reconciler.workflow.export import shown

    first = exported.exports[0]
    if not os.path.lexists(project.path):
        yield f"Create {shown(Path(project.path))}, with the name of your stack:"
        yield ""
        yield "  stack: NAME"
        yield f'  targets: {{{first.target.name}: {{region: {first.target.region}, accountId: "{first.account_id}"}}}}'
        yield ""
        yield "Then:"
    elif pages := [path for path in exported.files if path.name == PAGE]:
        yield f"Next, follow {shown(pages[0])}: first remove the resources from the other tool. Then:"
    else:
        yield "Next:"
    yield from (f"  {command}" for command in exported.commands)


def _split(text: str) -> object:
    from reconciler.export.exporter import Split

    try:
        return Split.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _kind(text: str) -> object:
    from reconciler.model.address import KindName
    from reconciler.model.kinds import LISTED

    try:
        kind = KindName(text)
    except ValueError:
        kind = None
    if kind not in LISTED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a kind; the kinds are {', '.join(LISTED)}")
    return kind
