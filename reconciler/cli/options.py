"""Options that several verbs share, and what they mean once parsed.

Global options may be given before or after the verb. A usage error ends with exit code 1, because 2 means "differences".
An apply continues when its output fails (a full disk, a closed pipe): a change must not stop half way because its report cannot be written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO, TypeAlias, cast

from reconciler.errors import AdoptionError, ExitCode

if TYPE_CHECKING:
    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.model.target import Project, Shards, Target
    from reconciler.plan.plan import PlanOptions
    from reconciler.report.text import Paint

_MAX_HINTS = 8
_MAX_AT_ONCE = 1000

Subparsers: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - argparse has no public name for it
"""What ``add_subparsers`` returns."""


class Help(argparse.HelpFormatter):
    """Shows a short line of usage, keeps the lines of texts, and wraps all between words to the width of the terminal."""

    def _format_usage(self, usage: Any, actions: Iterable[argparse.Action], groups: Any, prefix: Any) -> str:
        if prefix is not None:  # asked for the beginning of a verb's own usage
            return super()._format_usage(usage, actions, groups, prefix)
        operands = [_operand(action) for action in actions if not action.option_strings]
        return self._fill_text(" ".join(("usage:", self._prog, "[OPTIONS]", *operands)), self._width, "") + "\n"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for line in text.splitlines():
            hang = len(line) - len(line.lstrip()) + 2 if line.startswith(" ") else 0
            first, *others = _wrap(line.strip(), width - hang) or [""]
            margin = " " * (hang - 2 if hang else 0)
            lines += [indent + margin + first, *(indent + " " * hang + other for other in others)]
        return "\n".join(lines) + "\n"

    def _format_action(self, action: argparse.Action) -> str:
        if not (isinstance(action, Verbs) and action.headings):
            return super()._format_action(action)
        parts: list[str] = []
        for heading, verbs in action.by_heading().items():
            parts.append(f"{' ' * self._current_indent}{heading}:\n")
            self._indent()
            parts += [super(Help, self)._format_action(verb) for verb in verbs]
            self._dedent()
        return "".join(parts)

    def start_section(self, heading: str | None) -> None:
        """Begin a group of options, with its heading wrapped."""
        super().start_section(heading and "\n".join(_wrap(heading, self._width - 1)))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrap(" ".join(text.split()), width)


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An argument parser that takes options by their full names only, and ends with exit code 1 on a usage error.

    A shortened option is refused, because ``--au`` must not be taken for ``--auto-approve``. So is an empty value, which
    is an unset variable of a script: ``apply "$PLAN"`` and ``--base "$BASE"`` would apply without the plan or the base.
    """

    helps_bare_calls = True
    """Whether a call without a verb prints the help; not while a shell completes it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": Help, **options})
        self.register("action", "parsers", Verbs)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if "" in arg_strings and not isinstance(action, Verbs):
            raise argparse.ArgumentError(action, "the value is empty")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Print the error, then one line of usage, and exit."""
        message = message.replace("ignored explicit argument", "takes no value, but has")  # argparse's words
        message = re.sub(r"invalid int value: (.+)", r"\1 is not a whole number", message)
        message = re.sub(r"invalid float value: (.+)", r"\1 is not a number", message)
        operands = " ".join(map(_operand, self._get_positional_actions()))
        usage = f"usage: {self.prog} [OPTIONS] {operands}".rstrip()
        self.exit(ExitCode.ERROR, f"{self.prog}: {message}\n{usage}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Report an unknown option here, so that it is reported for the verb it was given to; list the verbs of a bare call."""
        args = sys.argv[1:] if args is None else args
        if self.helps_bare_calls and not args and any(isinstance(action, Verbs) for action in self._actions):
            self.print_help()
            self.exit(ExitCode.OK)
        self._check_options_before_verb(args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return found, unknown

    def _check_options_before_verb(self, args: Any) -> None:
        """Report an unknown option before the verb: argparse would take the word after it for the verb, and report that."""
        takes_value = False
        for word in args if any(isinstance(action, Verbs) for action in self._actions) else ():
            option = self._option_string_actions.get(word)
            if option is not None:
                takes_value = option.nargs is None
            elif word.startswith("--") and word.partition("=")[0] not in self._option_string_actions:
                self._refuse([word])
            elif not takes_value and not word.startswith("-"):
                return
            else:
                takes_value = False

    def _refuse(self, unknown: list[str]) -> NoReturn:
        hint = did_you_mean(unknown[0].partition("=")[0], self._option_string_actions)
        names = list(takewhile(lambda word: not word.startswith("-"), unknown))
        if names and "sandbox" not in self.prog:  # whose verbs have no targets
            hint = f"; to select a target, use {' '.join(f'-t {name}' for name in names)}"
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a word that is no verb or choice, and name the nearest one."""
        if action.choices is None or value in action.choices:
            return
        near = did_you_mean(str(value), action.choices)
        if isinstance(action, Verbs):
            self.error(f"unknown command {value!r}{near}")
        raise argparse.ArgumentError(
            action, f"invalid choice: {value!r} (choose from {', '.join(map(str, action.choices))}){near}"
        )


def _operand(action: argparse.Action) -> str:
    """Return how a usage line shows a positional argument."""
    choices = ",".join(map(str, action.choices or ()))
    name = str(action.metavar or (f"{{{choices}}}" if choices else action.dest))
    return {"?": f"[{name}]", "+": f"{name}...", "*": f"[{name}...]"}.get(str(action.nargs), name)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known word or, for the beginning of words, at those; empty if none is near."""
    from difflib import get_close_matches

    begun = [name for name in known if len(word.lstrip("-")) > 1 and name.startswith(word)]
    near = begun if 0 < len(begun) <= _MAX_HINTS else get_close_matches(word, known, n=1, cutoff=0.7)
    return f"; did you mean {' or '.join(near)}?" if near else ""


class Verbs(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001 - argparse has no public name for it
    """The verbs of a command line. For verbs that the call does not name, only the name and the help line are kept.

    Building every option of every verb took 20 % of ``--help``, and grew with each verb.
    """

    asked: Collection[str] | None = None
    """The words of the call; ``None`` builds every verb."""

    heading = ""
    """What ``--help`` lists the verbs under that are added from now on; empty for one list."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.headings: dict[str, str] = {}

    def by_heading(self) -> Mapping[str, list[argparse.Action]]:
        """Return the verbs as help shows them, by their heading."""
        found: dict[str, list[argparse.Action]] = {}
        for action in self._choices_actions:
            found.setdefault(self.headings.get(action.dest, ""), []).append(action)
        return found

    def add_parser(self, name: str, **options: Any) -> Any:
        """Add a verb and return its parser, or a placeholder."""
        if self.heading:
            self.headings[name] = self.heading
        if self.asked is None or name in self.asked:
            return super().add_parser(name, **options)
        self._choices_actions.append(self._ChoicesPseudoAction(name, (), options.get("help")))
        self._name_parser_map[name] = not_built = _NotBuilt()
        return not_built

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Let the verb parse the rest; repeatable options are added to those before the verb."""
        before = {
            name: namespace.__dict__.pop(name) for name in ("target", "verbose", "allow_path") if name in namespace
        }
        super().__call__(parser, namespace, values, option_string)
        for name, value in before.items():
            setattr(namespace, name, value + getattr(namespace, name, type(value)()))


class _NotBuilt:
    """Accepts and ignores the options of a verb that the call does not name."""

    def __getattr__(self, _: str) -> Callable[..., _NotBuilt]:
        return lambda *_args, **_options: self


class Context(NamedTuple):
    """The global options of one call. ``targets`` empty means all of them."""

    start: str
    config: str | None
    targets: tuple[str, ...]
    log_format: str
    verbosity: int
    no_color: bool
    allowed_paths: tuple[str, ...] = ()
    pin: str | None = None
    shard: Shards | None = None

    @property
    def directory(self) -> Path:
        """The folder of the call, as ``-C`` gives it."""
        return Path(self.start)

    def colored(self, stream: TextIO) -> bool:
        """Return whether to colour a stream: a terminal, or any with ``FORCE_COLOR`` or ``CLICOLOR_FORCE``; not with ``--no-color`` or ``NO_COLOR``."""
        from reconciler.terminal import is_colored

        return not self.no_color and is_colored(stream)

    def paint(self, stream: TextIO) -> Paint:
        """Return how to style text for a stream."""
        from reconciler.report.text import ansi, plain

        return ansi if self.colored(stream) else plain


def print_lines(stream: TextIO, *texts: str) -> None:
    """Write texts to a stream, each a line or several, with everything unprintable escaped, and wrapped for a terminal."""
    from reconciler.terminal import sanitize_lines, write_fitted

    write_fitted("".join(f"{sanitize_lines(text)}\n" for text in texts), stream)


def confirmed(question: str) -> bool:
    """Ask on the terminal, and return whether the answer is yes."""
    from reconciler.terminal import write_fitted

    write_fitted(f"{question}\nOnly 'yes' will be accepted to confirm: ", sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


def command_of(context: Context) -> tuple[str, ...]:
    """Return the words with which another verb is called for the same project."""
    words = ["ivs-reconciler"]
    if context.start != ".":
        words += ["-C", context.start]
    if context.config:
        words += ["--config", context.config]
    return tuple(words)


def begin(args: argparse.Namespace) -> Context:
    """Configure the logs of a call, and return its global options."""
    from reconciler.logs import configure

    context = context_of(args)
    configure(context.log_format, context.verbosity, no_color=context.no_color)
    return context


def context_of(args: argparse.Namespace) -> Context:
    """Read the global options from parsed arguments."""
    return Context(
        start=getattr(args, "directory", "."),
        config=getattr(args, "config", None),
        targets=tuple(getattr(args, "target", ())),
        log_format=getattr(args, "log_format", "auto"),
        verbosity=getattr(args, "verbose", 0),
        no_color=getattr(args, "no_color", False),
        allowed_paths=tuple(getattr(args, "allow_path", ())),
        pin=getattr(args, "pin", None),
        shard=getattr(args, "shard", None),
    )


def project_of(context: Context, *, prefix: str | None = None) -> tuple[Project, tuple[Target, ...]]:
    """Return the project of a call and the targets it selects.

    Messages name files relative to the current folder, or below ``prefix``.
    Raises ``SpecError`` and ``UsageError``.
    """
    from reconciler.spec.project import load_targets

    project, targets = load_targets(
        context.directory,
        context.config,
        context.targets,
        prefix=prefix,
        allowed_paths=context.allowed_paths,
        pin=context.directory / context.pin if context.pin else None,
        shard=context.shard,
    )
    if context.shard:
        _note_unknown_accounts(project, context.shard)
    return project, targets


def _note_unknown_accounts(project: Project, shard: Shards) -> None:
    from reconciler.model.target import targets_of_unknown_account
    from reconciler.report.words import names_words

    names = targets_of_unknown_account(project.targets.values(), shard.total)
    if not names:
        return
    print_lines(
        sys.stderr,
        f"note: {names_words(names)} {'states' if len(names) == 1 else 'state'} no accountId, so --shard uses the profile: "
        "two targets of one account could be in different shards, undetected",
    )


def spec_of(context: Context) -> tuple[Project, tuple[Target, ...], dict[str, DesiredState]]:
    """Return the project, the selected targets, and the desired state of each. See ``project_of``."""
    project, targets = project_of(context)
    return project, targets, desired_of(project, targets)


def desired_in_other_shards(
    context: Context, project: Project, options: PlanOptions, targets: tuple[Target, ...]
) -> dict[str, DesiredState]:
    """Return the desired state of each selected target that is not of this shard; none if no glob needs it.

    Globs are for all shards, and one that is misspelt must not pass because it may be of another shard. Raises ``SpecError``.
    """
    if not (context.shard and options.has_globs):
        return {}
    here = {target.name for target in targets}
    named = (target for name, target in project.targets.items() if not context.targets or name in context.targets)
    return desired_of(project, tuple(target for target in named if target.name not in here))


def desired_of(project: Project, targets: tuple[Target, ...]) -> dict[str, DesiredState]:
    """Return the desired state of every target, as it is in the work tree.

    Raises ``SpecError``, also for spec files that git tracks and did not check out.
    """
    from reconciler.git.clone import missing_files
    from reconciler.spec.desired import load_desired_states

    return load_desired_states(project, targets, missing_files(Path(project.root)))


@contextlib.contextmanager
def adoptions_of(
    args: argparse.Namespace,
    context: Context,
    project: Project,
    targets: tuple[Target, ...],
    desired: Mapping[str, DesiredState],
) -> Iterator[Mapping[str, Mapping[Address, str]]]:
    """Yield the ARNs of ``--adopt-file`` by target and address; none without it.

    Raises ``SpecError`` with the lines of all problems: of the file, and of what live state shows inside the context.
    """
    if not args.adopt_file:
        yield {}
        return
    from reconciler.spec.adopt_file import read_adopt_file

    file = read_adopt_file(context.directory / args.adopt_file, args.adopt_file, project, targets, desired)
    try:
        yield file.adopt
    except AdoptionError as error:
        raise file.located(error) from None


def plan_options_of(args: argparse.Namespace) -> PlanOptions:
    """Return the plan options of parsed arguments."""
    from reconciler.plan.plan import PlanOptions

    return PlanOptions(
        prune=args.prune,
        adopt=getattr(args, "adopt", False) or getattr(args, "adopt_with_changes", False),
        adopt_with_changes=getattr(args, "adopt_with_changes", False),
        only=tuple(args.only),
        exclude=tuple(args.exclude),
        stop_live=tuple(getattr(args, "stop_live", ())),
        wait_live=getattr(args, "wait_live", None),
        allow_deletes=getattr(args, "allow_deletes", None),
        allow_updates=getattr(args, "allow_updates", None),
        allow_empty=getattr(args, "allow_empty", False),
        allow_missing=getattr(args, "allow_missing", False),
        create_beside=tuple(getattr(args, "create_beside", ())),
        take_over=tuple(getattr(args, "take_over", ())),
    )


def global_options() -> argparse.ArgumentParser:
    """Return a parent parser with the global options. It sets no defaults, so it is used before and after the verb."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("global options")
    group.add_argument("-C", dest="directory", metavar="DIR", help="run as if started in DIR")
    group.add_argument("--config", metavar="FILE", help="project file, relative to DIR (default: ivs-reconciler.yaml)")
    group.add_argument(
        "-t", "--target", metavar="NAME", action="append", help="only this target; repeatable (default: all)"
    )
    group.add_argument(
        "--allow-path",
        metavar="DIR",
        action="append",
        help="let the project file use sandbox and lock files in DIR, outside the project; repeatable",
    )
    group.add_argument(
        "--pin",
        metavar="FILE",
        help="refuse a project file whose regions, accounts, roles, endpoints, locks, state, receivers or outputs differ from FILE",
    )
    group.add_argument(
        "--log-format",
        choices=("auto", "console", "json"),
        help="format of logs on stderr (default: auto, console on a terminal)",
    )
    group.add_argument(
        "-v", "--verbose", action="count", help="more detail: AWS calls, unfolded lists, logs; twice for debug logs"
    )
    group.add_argument(
        "--no-color",
        action="store_true",
        help="no colours (or set NO_COLOR; FORCE_COLOR for colours without a terminal)",
    )
    return parser


def add_scope(parser: argparse.ArgumentParser, *, adopt: bool = True) -> None:
    """Add the options for a plan's permissions and selection; ``adopt=False`` for a verb without live resources."""
    group = parser.add_argument_group("scope and permissions")
    group.add_argument("--prune", action="store_true", help="delete managed resources that are no longer in the spec")
    if adopt:
        group.add_argument(
            "--adopt",
            action="store_true",
            help="adopt unowned live resources that have the kind and name of one to create",
        )
        group.add_argument(
            "--adopt-file",
            metavar="FILE",
            help="adopt the live resources listed in FILE by ARN, as YAML or JSON: channel/main: arn:aws:ivs:…",
        )
        add_adopting(group)
    add_globs(group, needs=", and what they depend on")


def add_adopting(group: argparse._ActionsContainer) -> None:  # argparse has no public name for a parser or group
    """Add the options for what an adoption may do."""
    group.add_argument(
        "--adopt-with-changes",
        action="store_true",
        help="adopt, and also change the fields and tags that differ from the spec",
    )
    group.add_argument(
        "--take-over",
        metavar="STACK",
        action="append",
        default=[],
        help="also adopt resources owned by STACK that have an address or name of the spec, or are given by ARN; repeatable",
    )


def add_globs(group: argparse._ArgumentGroup, *, needs: str = "") -> None:  # argparse has no public name for a group
    """Add ``--only`` and ``--exclude``; ``needs`` is the help text for what is included with them."""
    group.add_argument(
        "--only", metavar="GLOB", action="append", default=[], help=f"only addresses that match{needs}; repeatable"
    )
    group.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="skip addresses that match; repeatable"
    )


def add_at_once(parser: argparse.ArgumentParser) -> None:
    """Add the option for how many targets are worked on at the same time."""
    parser.add_argument(
        "--targets-at-once",
        metavar="N",
        type=_at_least_one,
        help="targets worked on at the same time (default: 8 for each processor, at most 32, fewer where ulimit -n is low)",
    )


def add_shard(parser: argparse._ActionsContainer) -> None:  # argparse has no public name for a parser or group
    """Add the option for one of several machines that run the same command."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        help="only the targets of shard I of N, from 1/N to N/N: a hash of account and region. "
        "auto/N reads I from the environment: JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX, CI_NODE_INDEX or IVS_RECONCILER_SHARD_INDEX; auto reads N too",
    )


def _shard(text: str) -> Shards:
    from reconciler.model.target import parse_shard

    try:
        return parse_shard(text, os.environ)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= _MAX_AT_ONCE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MAX_AT_ONCE:,}")
    return int(text)


def add_live(parser: argparse.ArgumentParser) -> None:
    """Add the options for live channels."""
    group = parser.add_argument_group("live channels")
    group.add_argument(
        "--wait-live",
        metavar="TIME",
        type=duration,
        help="wait up to TIME (such as 30m) for broadcasts to end that block an action",
    )
    group.add_argument(
        "--stop-live",
        metavar="ADDRESS",
        type=_channel,
        action="append",
        default=[],
        help="end this channel's broadcast if it blocks an action, and replace its stream key; repeatable",
    )


def add_allowances(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that let one run pass a guardrail, and return their group."""
    group = parser.add_argument_group("guardrail overrides, for this run or saved plan only")
    group.add_argument("--allow-deletes", metavar="N", type=_count, help="allow up to N deletes per kind")
    group.add_argument("--allow-updates", metavar="N", type=_count, help="allow up to N updates per kind")
    group.add_argument(
        "--allow-empty", action="store_true", help="allow a spec without resources for a stack that has some"
    )
    group.add_argument(
        "--allow-missing",
        action="store_true",
        help="allow AWS to list none, or few, of the resources recorded at the last apply",
    )
    group.add_argument(
        "--create-beside",
        metavar="GLOB",
        action="append",
        default=[],
        help="create these addresses although an unmanaged or orphaned resource has the same kind and name; repeatable",
    )
    return group


def add_approval(parser: argparse.ArgumentParser) -> None:
    """Add ``--auto-approve`` and ``--lock-timeout``."""
    parser.add_argument("--auto-approve", action="store_true", help="do not ask for approval")
    parser.add_argument(
        "--lock-timeout",
        metavar="TIME",
        type=duration,
        default=0.0,
        help="wait up to TIME (such as 10m) for a lock held by another run",
    )


def add_format(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add ``--format``; the first is the default."""
    parser.add_argument("--format", choices=formats, default=formats[0], help=f"output format (default: {formats[0]})")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def duration(text: str) -> int:
    """Return the seconds of a duration such as ``10m``, as an option's type. Raises ``ArgumentTypeError``."""
    from reconciler.model.target import seconds_of

    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _channel(text: str) -> str:
    if not text.startswith("channel/") or not text.removeprefix("channel/").replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r} is not a channel address, such as channel/main-stage")
    return text


class _TolerantStream:
    """A stream that records its first failure and discards all text from then on."""

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
    """Redirect a stream to the null device, its buffer included: it would fail again at every flush, the interpreter's last one included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def tolerate_output_errors() -> Iterator[list[OSError]]:
    """Keep failures of stdout and stderr from raising; yields the failures."""
    failures: list[OSError] = []
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _TolerantStream(stream, failures)) for stream in before)
    try:
        yield failures
    finally:
        sys.stdout, sys.stderr = before
