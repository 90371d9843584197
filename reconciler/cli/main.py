"""The entry point: builds the argument parser, runs one verb, and turns every expected error into a message and an exit code.

Also ``completion``: the script that it prints runs this program at each request, so that it completes the targets and addresses of the current project.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from reconciler import __version__
from reconciler.cli import adopt, apply, comment, drift, export, init, plan, rotate, run, sandbox, show, spec, unlock
from reconciler.cli.options import Parser, Subparsers, context_of, global_options, silence
from reconciler.errors import ExitCode, ReconcilerError, Terminated, stopped_by

if TYPE_CHECKING:
    from types import FrameType

    from reconciler.model.address import Address, KindName

_EPILOG = """\
exit codes:
  0  done, in sync, or a plan was made
  1  an error: bad spec, no credentials, AWS refused
  2  differences: drift found drift; plan --detailed-exitcode found changes; export could not write everything
  3  refused, nothing was changed: stale plan, guardrail, lock held, live channel
  4  an apply partially failed; the report lists what is done, failed, skipped, blocked
  5  drift: no drift, but changes are pending; outputs: a resource of the spec does not exist
  130, 143  interrupted by Ctrl-C, by SIGTERM; an apply first waits for in-flight calls and ends with 4
"""


SHELLS = ("bash", "zsh", "fish")
_ADDRESS_METAVARS = frozenset({"ADDRESS", "ADDRESS ARN", "GLOB"})
_FILE_METAVARS, _FOLDER_METAVARS = frozenset({"FILE", "PATH", "PLANFILE"}), frozenset({"DIR"})


def add_completion(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "completion",
        parents=[common],
        help="print the completion script of a shell",
        description="Print the script that completes commands, options, targets and addresses in a shell. Load it at the start of the shell: "
        "bash: source <(ivs-reconciler completion bash); zsh, after compinit: source <(ivs-reconciler completion zsh); "
        "fish: ivs-reconciler completion fish | source",
    )
    parser.add_argument("shell", choices=SHELLS, metavar="{" + ",".join(SHELLS) + "}", help="the shell")
    parser.set_defaults(run=run_completion)


def run_completion(args: argparse.Namespace) -> int:
    """Run the verb."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["ivs-reconciler"], shell=args.shell).strip("\n") + "\n")
    return ExitCode.OK


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the completion script that asks through the environment, and end the process."""
    import argcomplete

    Parser.helps_bare_calls = False
    for action in _actions(parser):
        name = str(action.metavar or "")
        if action.dest == "target":
            action.completer = _complete_targets  # type: ignore[attr-defined]
        elif name in _ADDRESS_METAVARS:
            action.completer = _address_completer(action.dest)  # type: ignore[attr-defined]
        elif name in _FILE_METAVARS:
            action.completer = argcomplete.FilesCompleter()  # type: ignore[attr-defined]
        elif name in _FOLDER_METAVARS:
            action.completer = argcomplete.DirectoriesCompleter()  # type: ignore[attr-defined]
    nothing = argcomplete.completers.SuppressCompleter()
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=nothing)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and operands of a parser and of all its verbs."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - nor a public name for this
            for verb in action.choices.values():
                yield from _actions(verb)


def _complete_targets(parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    from reconciler.spec.project import load_project

    context = context_of(parsed_args)
    return list(load_project(context.directory, context.config, allowed_paths=None).targets)


def _address_completer(option: str) -> Any:
    def completer(parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
        from reconciler.model.kinds import CHILD_KINDS, KINDS

        kinds: Collection[KindName | None] = KINDS
        if parsed_args.command == "forget":
            return []  # of addresses that the spec does not have
        if parsed_args.command == "rotate":
            kinds = {name for kind in CHILD_KINDS.values() for name in (kind.name, kind.created_with)}
        elif option == "stop_live":
            kinds = {kind.name for kind in KINDS.values() if kind.live}
        return sorted(str(address) for address in _addresses_in_spec(parsed_args) if address.kind in kinds)

    return completer


def _addresses_in_spec(parsed_args: argparse.Namespace) -> set[Address]:
    """Return the addresses of the spec, of the selected targets. A spec with problems has none: nothing is printed while completing."""
    from reconciler.spec.desired import load_desired_states
    from reconciler.spec.project import load_project

    context = context_of(parsed_args)
    project = load_project(context.directory, context.config, allowed_paths=None)
    targets = tuple(one for name, one in project.targets.items() if not context.targets or name in context.targets)
    return {address for state in load_desired_states(project, targets).values() for address in state.resources}


VERBS: Mapping[str, tuple[Callable[[Subparsers, argparse.ArgumentParser], None], ...]] = {
    "start": (init.add_parser, spec.add_validate, sandbox.add_parser, spec.add_schema),
    "plan and apply": (plan.add_parser, apply.add_parser, show.add_parser, show.add_status, show.add_outputs),
    "existing resources": (export.add_parser, adopt.add_parser, adopt.add_forget),
    "drift and review": (drift.add_parser, show.add_diff, comment.add_parser),
    "operate": (run.add_parser, rotate.add_parser, unlock.add_parser, spec.add_iam_policy, add_completion),
}
"""The verbs by the heading that ``--help`` lists them under, in the order in which they are met."""


def build_parser(asked: Collection[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, or with the options of only those verbs that ``asked`` names."""
    common = global_options()
    parser = Parser(
        prog="ivs-reconciler",
        description="Keep the Amazon IVS resources of an AWS account in sync with YAML in a git repository.",
        epilog=_EPILOG,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"ivs-reconciler {__version__}")
    subparsers: Any = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    parser._action_groups.insert(0, parser._action_groups.pop())  # noqa: SLF001 - help begins with the commands
    subparsers.asked = asked
    for heading, verbs in VERBS.items():
        subparsers.heading = heading
        for verb in verbs:
            verb(subparsers, common)
    return parser


def entry() -> NoReturn:
    """Run the command line and end the process, as the installed command does.

    Ends without the interpreter's clean-up: freeing a large plan object by object takes a sixth of a quick run.
    """
    code = int(ExitCode.INTERRUPTED)
    try:
        code = main(started=_handle_signals)
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or int(ExitCode.ERROR)
    except KeyboardInterrupt:
        pass  # after the verb, while its error is written
    os._exit(code)


_INTERRUPTS: list[KeyboardInterrupt] = []
"""Those that signals raised in this run."""


def _handle_signals() -> None:
    """Make SIGTERM end a run as Ctrl-C does; its default action would leave locks held and files half written."""
    import signal

    def interrupt(number: int, frame: object) -> NoReturn:
        del frame
        _INTERRUPTS.append(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
        raise _INTERRUPTS[-1]

    def raise_again(lost: sys.UnraisableHookArgs) -> None:
        """Raise an interrupt again that came in a callback, as importing has them for each module: Python prints it and continues."""
        interruption = lost.exc_type
        if not issubclass(interruption, KeyboardInterrupt):
            sys.__unraisablehook__(lost)
            return

        def in_what_follows(frame: FrameType, event: str, arg: object) -> None:
            del event, arg
            if frame.f_code is not raise_again.__code__:
                sys.setprofile(None)
                raise interruption

        sys.setprofile(in_what_follows)

    sys.unraisablehook = raise_again
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def main(argv: Sequence[str] | None = None, *, started: Callable[[], None] = lambda: None) -> int:
    """Run the command line and return the exit code (see ``ExitCode``). ``started`` is called once the arguments are parsed."""
    _prepare_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does by default: a character that the encoding lacks is shown as an escape and raises nothing.
        sys.stdout.reconfigure(errors="backslashreplace")
    if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
        from reconciler.network import bypass_proxies_for_loopback

        bypass_proxies_for_loopback(os.environ)
    words = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:
        complete(build_parser())
    args = build_parser(asked=words).parse_args(words)
    # A run makes many small values, keeps them, and ends: looking for cycles among them again and again is wasted.
    gc.set_threshold(200_000, 20, 20)
    gc.enable()
    code = 0
    try:
        started()
        code = int(args.run(args))
        sys.stdout.flush()
    except ReconcilerError as error:
        _flush_stdout()
        _report_error(error, colored=context_of(args).colored(sys.stderr))
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone: print nothing, and keep the interpreter from reporting it at exit.
        silence(sys.stdout)
        return code or int(ExitCode.ERROR)
    except OSError as error:
        # A verb handles the errors of its own files; what is left is the output, such as a redirection to a full disk.
        silence(sys.stdout)
        from reconciler.terminal import sanitize, without_commands

        if "usable temporary directory" in (error.strerror or ""):  # as the module tempfile says it
            _write_stderr(
                "no temporary directory can be written; free space, or set TMPDIR to one that can, and run again\n"
            )
            return code or int(ExitCode.ERROR)
        name = without_commands(sanitize(str(error.filename or "output")))
        _write_stderr(f"{name}: {(error.strerror or 'cannot be written').lower()}; make it writable and run again\n")
        return code or int(ExitCode.ERROR)
    except KeyboardInterrupt as stop:
        return _interrupted(stop)
    except Exception:
        # A package may make an error of its own of an interrupt: pydantic while it builds a model, Python 3.11 while a class is created.
        if not _INTERRUPTS:
            raise
        return _interrupted(_INTERRUPTS[0])
    return code


def _interrupted(stop: KeyboardInterrupt) -> int:
    """Say that a signal ended the run, and return the exit code."""
    if asking := sys.modules.get("reconciler.terminal"):
        asking.leave()
    code, why = stopped_by(stop)
    _write_stderr(f"{why}\n")
    return int(code)


def _prepare_streams() -> None:
    """Open the null device for a closed stdout or stderr, and give back the buffer that PYTHONUNBUFFERED takes from them.

    A report must not go to a file or socket that got the free descriptor. Without a buffer a write that a full disk or a
    signal cuts short raises nothing, and the rest of the text is lost.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the process ends
        elif isinstance(getattr(stream, "buffer", None), io.RawIOBase):
            buffered = open(  # noqa: SIM115 - as above
                stream.fileno(), "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False
            )
            setattr(sys, name, buffered)


def _flush_stdout() -> None:
    """Write what is buffered, so that in a log of both streams a report comes before the error that it explains."""
    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)


def _report_error(error: ReconcilerError, *, colored: bool) -> None:
    from reconciler.terminal import fit_to_width, sanitize_lines, without_commands

    text = fit_to_width(without_commands(sanitize_lines(str(error))), sys.stderr)
    _write_stderr(f"\x1b[31m{text}\x1b[0m\n" if colored else f"{text}\n")


def _write_stderr(text: str) -> None:
    """Write to stderr; if that fails, only the exit code remains."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)
