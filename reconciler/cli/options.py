"""The options that several verbs share, and what they mean once parsed.

Global options may stand before or after the verb. A wrong call ends with exit code 1, because 2 says "differences" to the scripts that rely on it.

Guardrails at the command line: which refusals stand after this run's acknowledgements.

Output that breaks while work is under way: a full disk behind a redirection, a reader that has left.

What was agreed to is carried out to its end; a change of an account must not stop half way because nobody listens.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO, TypeAlias, cast

from reconciler.errors import ExitCode
from reconciler.model.address import Address
from reconciler.model.target import Guardrails
from reconciler.plan.guardrails import Allowances, check
from reconciler.plan.plan import Plan, TargetPlan

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.model.target import Project, Target
    from reconciler.plan.plan import PlanOptions

Subparsers: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - argparse has no public name for it
"""What ``add_subparsers`` returns."""


class Help(argparse.HelpFormatter):
    """argparse's own look. The width is found without ``shutil``, whose import was a twentieth of ``--help``."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class HelpWithTable(Help, argparse.RawDescriptionHelpFormatter):
    """The same, with the lines of an epilog left as they are."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint about a wrong call has exit code 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})
        self.register("action", "parsers", Verbs)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the complaint, and leave."""
        self.print_usage(sys.stderr)
        self.exit(ExitCode.ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Complain of an unknown option here, so that the usage shown is that of the verb it was given to."""
        args = sys.argv[1:] if args is None else args
        self._must_know_options_before_the_verb(args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return found, unknown

    def _must_know_options_before_the_verb(self, args: Any) -> None:
        """Name an unknown option that stands before the verb: argparse would take what follows it for the verb, and complain of that."""
        verbs = next((action.choices for action in self._actions if isinstance(action, Verbs)), {})
        for word in args if verbs else ():
            if word in verbs:
                return
            if word.startswith("--") and not any(
                option.startswith(word.partition("=")[0]) for option in self._option_string_actions
            ):
                self._refuse([word])

    def _refuse(self, unknown: list[str]) -> NoReturn:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=1, cutoff=0.8)
        self.error(f"unrecognized arguments: {' '.join(unknown)}" + (f"; did you mean {near[0]}?" if near else ""))


class Verbs(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001 - argparse has no public name for it
    """The verbs of a command line. Of those that the call does not name, only the name and the help line are kept.

    Making every option of every verb was a fifth of ``--help``, and grew with each verb.
    """

    asked: Collection[str] | None = None
    """The words of the call; ``None`` where every verb is wanted whole."""

    def add_parser(self, name: str, **options: Any) -> Any:
        """Add a verb and return its parser, or what takes its place."""
        if self.asked is None or name in self.asked:
            return super().add_parser(name, **options)
        self._choices_actions.append(self._ChoicesPseudoAction(name, (), options.get("help")))
        self._name_parser_map[name] = unasked = _Unasked()
        return unasked

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Let the verb read the rest; what adds up is added to what stood before the verb, not put in its place."""
        before = {name: namespace.__dict__.pop(name) for name in ("target", "verbose") if name in namespace}
        super().__call__(parser, namespace, values, option_string)
        for name, value in before.items():
            setattr(namespace, name, value + getattr(namespace, name, type(value)()))


class _Unasked:
    """Takes the options of a verb that is not asked for, and forgets them."""

    def __getattr__(self, _: str) -> Callable[..., _Unasked]:
        return lambda *_args, **_options: self


class Context(NamedTuple):
    """The global options of one call. ``targets`` empty means all of them."""

    start: str
    config: str | None
    targets: tuple[str, ...]
    log_format: str
    verbosity: int
    no_color: bool

    @property
    def directory(self) -> Path:
        """The folder that the call works in."""
        from pathlib import Path  # the one thing that --help does not need

        return Path(self.start)

    def colored(self, stream: TextIO) -> bool:
        """Whether to colour what goes to a stream: a terminal, unless ``--no-color`` or the ``NO_COLOR`` convention says no."""
        return (
            not self.no_color
            and not os.environ.get("NO_COLOR")
            and stream.isatty()
            and os.environ.get("TERM") != "dumb"
        )


def context_of(args: argparse.Namespace) -> Context:
    """Read the global options from parsed arguments."""
    return Context(
        start=getattr(args, "directory", "."),
        config=getattr(args, "config", None),
        targets=tuple(getattr(args, "target", ())),
        log_format=getattr(args, "log_format", "auto"),
        verbosity=getattr(args, "verbose", 0),
        no_color=getattr(args, "no_color", False),
    )


def project_of(context: Context, *, prefix: str | None = None) -> tuple[Project, tuple[Target, ...]]:
    """Read the project file that a call means, and the targets it asks for; messages name files from the current folder, or below ``prefix``. Raises ``SpecError`` and ``UsageError``."""
    from reconciler.workflow.load import load_targets

    return load_targets(context.directory, context.config, context.targets, prefix=prefix)


def plan_options_of(args: argparse.Namespace) -> PlanOptions:
    """Read the scope and the permissions of a plan from parsed arguments."""
    from reconciler.plan.plan import PlanOptions

    return PlanOptions(
        prune=args.prune,
        adopt=getattr(args, "adopt", False),
        only=tuple(args.only),
        exclude=tuple(args.exclude),
        stop_live=tuple(getattr(args, "stop_live", ())),
        wait_live=getattr(args, "wait_live", None),
    )


def global_options() -> argparse.ArgumentParser:
    """Return a parent parser with the global options; nothing is set where nothing is given, so both places of a verb can share it."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("global options")
    group.add_argument("-C", dest="directory", metavar="DIR", help="work as if started in DIR")
    group.add_argument(
        "--config", metavar="FILE", help="the project file, relative to DIR (default: ivs-reconciler.yaml)"
    )
    group.add_argument(
        "-t", "--target", metavar="NAME", action="append", help="only this target; may be repeated (default: all)"
    )
    group.add_argument(
        "--log-format", choices=("auto", "console", "json"), help="how logs look on stderr (default: auto, by terminal)"
    )
    group.add_argument(
        "-v", "--verbose", action="count", help="say more: the AWS calls of a plan, and logs; twice for still more"
    )
    group.add_argument("--no-color", action="store_true", help="no colours (NO_COLOR in the environment does the same)")
    return parser


def add_scope(parser: argparse.ArgumentParser, *, adopt: bool = True) -> None:
    """Add what a plan may do and what it looks at; ``adopt=False`` for a verb that sees no live resource."""
    group = parser.add_argument_group("scope and permissions")
    group.add_argument("--prune", action="store_true", help="allow deleting managed resources that left the spec")
    if adopt:
        group.add_argument(
            "--adopt",
            action="store_true",
            help="take over an unowned live resource that has the kind and the name of a missing one",
        )
    add_globs(group, needs=", and what they need")


def add_globs(group: argparse._ArgumentGroup, *, needs: str = "") -> None:  # argparse has no public name for a group
    """Add the globs of addresses; ``needs`` says what is taken along."""
    group.add_argument(
        "--only", metavar="GLOB", action="append", default=[], help=f"only addresses like this{needs}; may be repeated"
    )
    group.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="leave out addresses like this; may be repeated"
    )


def add_live(parser: argparse.ArgumentParser) -> None:
    """Add what may be done about channels on air."""
    group = parser.add_argument_group("channels on air")
    group.add_argument(
        "--wait-live",
        metavar="TIME",
        type=_duration,
        help="wait this long (such as 30m) for broadcasts that stand in the way to end",
    )
    group.add_argument(
        "--stop-live",
        metavar="ADDRESS",
        type=_channel,
        action="append",
        default=[],
        help="end the broadcast of this channel where it stands in the way; its stream key is replaced; may be repeated",
    )


def add_allowances(parser: argparse.ArgumentParser) -> None:
    """Add the acknowledgements that let one run pass a guardrail."""
    group = parser.add_argument_group("acknowledgements, for this run alone")
    group.add_argument(
        "--allow-deletes", metavar="N", type=_count, help="let a plan delete up to N resources of a kind"
    )
    group.add_argument(
        "--allow-updates", metavar="N", type=_count, help="let a plan update up to N resources of a kind"
    )
    group.add_argument(
        "--allow-empty", action="store_true", help="let a spec without any resource stand against a stack that has some"
    )
    group.add_argument(
        "--believe-empty",
        action="store_true",
        help="believe a list that shows none, or few, of the resources that stood there after the last apply",
    )


def add_patience(parser: argparse.ArgumentParser) -> None:
    """Add how long to wait for a lock that somebody else holds."""
    parser.add_argument(
        "--lock-timeout",
        metavar="TIME",
        type=_duration,
        default=0.0,
        help="wait so long for a lock that somebody else holds, such as 10m",
    )


def no_allowances() -> dict[str, Any]:
    """Return what a verb that acknowledges nothing has in the place of these options."""
    parser = argparse.ArgumentParser(add_help=False)
    add_allowances(parser)
    return vars(parser.parse_args([]))


def add_format(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add ``--format``; the first is the default."""
    parser.add_argument(
        "--format", choices=formats, default=formats[0], help=f"how the report looks (default: {formats[0]})"
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; write a whole number, 0 or more")
    return int(text)


def _duration(text: str) -> int:
    from reconciler.model.target import seconds_of

    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _channel(text: str) -> str:
    if not text.startswith("channel/") or not text.removeprefix("channel/").replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the address of one channel; write it like channel/main-stage"
        )
    return text


def _columns() -> int:
    """Return the width of the terminal as ``shutil.get_terminal_size`` finds it."""
    try:
        columns = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 0
        except (ValueError, OSError):
            columns = 0
    return columns if columns > 0 else 80


def refusals(
    plan: Plan, guardrails: Guardrails, args: argparse.Namespace, remembered: Mapping[str, frozenset[Address]]
) -> list[str]:
    """Return the guardrails' refusals of every target, each with its counts, its limit and the way to proceed.

    ``remembered`` are, by target, the addresses that stood there after the last apply.
    """
    return [
        f"plan refused: {target.name}: {message}"
        for target in plan.targets
        for message in refusals_of(target, guardrails, args, remembered.get(target.name, frozenset()))
    ]


def refusals_of(
    target: TargetPlan, guardrails: Guardrails, args: argparse.Namespace, remembered: frozenset[Address]
) -> tuple[str, ...]:
    """Return the guardrails' refusals of one target."""
    allow = Allowances(
        deletes=args.allow_deletes, updates=args.allow_updates, empty=args.allow_empty, believe_empty=args.believe_empty
    )
    return check(target, guardrails, allow, remembered)


class _Lasting:
    """A stream whose first failure is kept, and whose text goes nowhere from then on."""

    def __init__(self, stream: TextIO, failures: list[OSError]) -> None:
        self._stream = stream
        self._failures = failures

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _failed(self, error: OSError) -> None:
        self._failures.append(error)
        silence(self._stream)


def silence(stream: TextIO) -> None:
    """Lead a stream nowhere, with what it still holds: it would fail again at every flush, the interpreter's last one included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def outlasted() -> Iterator[list[OSError]]:
    """Let nothing fail of stdout and stderr meanwhile; yields their failures."""
    failures: list[OSError] = []
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _Lasting(stream, failures)) for stream in before)
    try:
        yield failures
    finally:
        sys.stdout, sys.stderr = before
