"""``comment``: posts a plan, a drift report or a result on a pull or merge request, or in issues; found again and replaced in place."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from reconciler.cli.options import Context, Subparsers, add_allowances, add_scope, begin, plan_options_of, project_of
from reconciler.cli.plan import make_plan
from reconciler.errors import ExitCode, ForgeRefused, SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.errors import AwsError
    from reconciler.model.address import Address
    from reconciler.model.target import Project
    from reconciler.plan.plan import Plan
    from reconciler.workflow.reports import Report

_EPILOG = """\
In GitHub Actions and GitLab CI only the token is needed: GITHUB_TOKEN, or GITLAB_TOKEN (an access token with the scope api).
Exit code 3: the forge does not let this token write, as for pull requests from forks; the text is then in the job summary, or on stdout.
"""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "comment",
        parents=[common],
        help="post a plan on a pull or merge request",
        description="Post a plan on a pull or merge request: one comment, found again by a hidden marker and replaced in place.",
        epilog=_EPILOG,
    )
    source = parser.add_argument_group("content").add_mutually_exclusive_group()
    source.add_argument(
        "--plan",
        metavar="FILE",
        nargs="+",
        action="extend",
        help="a saved plan, a drift report, or the events of an apply (--format json), or those of several shards; default: plan now",
    )
    source.add_argument("--diff", metavar="BASE..HEAD", help="compare two revisions; needs no credentials")
    how = parser.add_argument_group("delivery")
    how.add_argument(
        "--issue",
        action="store_true",
        help="use an issue for each target instead of a comment: opened, updated, and closed when nothing is left to report",
    )
    how.add_argument(
        "--comment-per",
        choices=("target", "project"),
        help="one comment for each target, or one for all targets of the report (default: project)",
    )
    how.add_argument(
        "--always", action="store_true", help="comment even if nothing changes and there is no comment yet"
    )
    how.add_argument("--status", action="store_true", help="also set a status on the head commit")
    how.add_argument("--artifact-url", metavar="URL", help="URL of the whole report (default: the CI run)")
    how.add_argument("--dry-run", action="store_true", help="print the comment; call no forge")
    where = parser.add_argument_group("overrides for values detected from CI")
    where.add_argument("--provider", choices=("github", "gitlab"), help="the forge")
    where.add_argument("--repository", metavar="NAME", help="owner/name, or GitLab's path or number of a project")
    where.add_argument(
        "--number", metavar="N", type=int, help="the pull or merge request (default: the one of the commit)"
    )
    where.add_argument("--commit", metavar="SHA", help="its newest commit")
    where.add_argument("--base-commit", metavar="SHA", help="the commit to merge into")
    where.add_argument("--api-url", metavar="URL", help="API URL of a self-hosted server")
    where.add_argument("--token-env", metavar="NAME", help="the environment variable with the token")
    where.add_argument(
        "--author",
        metavar="LOGIN",
        help="author of our comments, if the token does not show it (GitHub apps: name[bot])",
    )
    parser.set_defaults(base=None)
    add_scope(parser)
    add_allowances(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 3 if the forge refused to write and the text went to the job summary."""
    from reconciler.forge.ci import access_in, detect_ci, open_forge
    from reconciler.git.clone import is_ancestor
    from reconciler.git.comments import SUMMARY_LIMIT, Destination, Origin, append_to_summary, comments_of, post_report

    context = begin(args)
    if args.issue and args.comment_per == "project":
        raise UsageError("--issue opens an issue for each target; leave --comment-per project out")
    ci = detect_ci(os.environ)
    # First: a missing client or token is reported before minutes are spent on a plan.
    forge = (
        None
        if args.dry_run
        else open_forge(
            access_in(
                ci,
                os.environ,
                provider=args.provider or "",
                repository=args.repository or "",
                api_url=args.api_url or "",
                token_env=args.token_env or "",
                author=args.author or "",
            )
        )
    )
    head, base, run_url = (args.commit or ci.head, args.base_commit or ci.base, args.artifact_url or ci.run_url)
    number = args.number or ci.number
    report, refusals, failures = _report(args, context)
    per_target = args.issue or args.comment_per == "target"
    planned = report.plan.git_commit or "" if report.plan else ""
    if forge and not args.issue and number is None and not (head or planned):
        raise UsageError("no pull or merge request found; use --number, or --commit with its merge commit")
    origin = Origin(head or planned, base, run_url, refusals)
    comments, verdicts = comments_of(report, context.targets, origin, per_target=per_target)
    if forge is None:
        for comment in comments:
            sys.stdout.write(comment.render(SUMMARY_LIMIT, 0).rstrip() + "\n")
        return _end(failures)
    shown = {name for comment in comments for name in comment.targets}
    project = _project(context)
    destination = Destination(
        args.issue,
        args.always,
        args.status,
        number,
        head,
        planned,
        report.plan is not None,
        run_url,
        partial(is_ancestor, context.directory),
        whole=project is not None and project.stack == report.stack and set(project.targets) <= shown,
    )
    try:
        post_report(forge, report.stack, comments, verdicts, destination, lambda line: print(line, flush=True))
    except ForgeRefused as error:
        left = append_to_summary(comments, ci.summary)
        sys.stdout.write(left)
        raise ForgeRefused(
            f"{error}; the text is {'above' if left else 'in the job summary'}", status=error.status
        ) from None
    return _end(failures)


def _end(failures: Sequence[AwsError]) -> ExitCode:
    """Return the exit code. Raises the first failure of a plan that was made here: it has the targets that could not be read."""
    sys.stdout.flush()
    if failures:
        raise failures[0]
    return ExitCode.OK


def _report(
    args: argparse.Namespace, context: Context
) -> tuple[Report, dict[str, tuple[str, ...]], Sequence[AwsError]]:
    """Return the report to post, by target why an apply would be refused, and the errors of targets that could not be read."""
    from dataclasses import replace

    from reconciler.workflow.reports import Report, read_reports

    if args.diff:
        from reconciler.git.compare import compare_revisions

        plan, _ = compare_revisions(
            context.directory, context.config, args.diff, context.targets, plan_options_of(args)
        )
        return Report(plan.stack, plan), {}, ()
    if args.plan:
        report = read_reports([context.directory / name for name in args.plan])
        if report.plan:
            allowed = report.plan.options.allowing(plan_options_of(args))
            report = replace(report, plan=report.plan._replace(options=allowed))
        if report.plan is None or report.plan.of_revisions:
            return report, {}, ()
        return report, _refusals(report.plan, context, {}), ()

    made = make_plan(args, context)
    return Report(made.plan.stack, made.plan), _refusals(made.plan, context, made.recorded), made.failures


def _refusals(plan: Plan, context: Context, recorded: Mapping[str, frozenset[Address]]) -> dict[str, tuple[str, ...]]:
    """Return the guardrails' refusals by target; none without the project file."""
    from reconciler.git.revision import with_stricter_guardrails
    from reconciler.plan.guardrails import check

    project = _project(context)
    if project is None:
        return {}
    if plan.base:
        project = with_stricter_guardrails(project, plan.base)
    return {
        target.name: check(
            target, project.guardrails_of(target.name), plan.options, recorded.get(target.name, frozenset())
        )
        for target in plan.targets
    }


def _project(context: Context) -> Project | None:
    """Return the project, or ``None`` without its file: a saved plan may be posted elsewhere."""
    try:
        return project_of(context._replace(targets=(), pin=None))[0]
    except SpecError:
        return None
