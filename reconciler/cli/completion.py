"""``completion``: prints the completion script of a shell; and completes a command line when such a script asks for it.

The script runs this program at each request, so that it completes what the project at hand has: targets and addresses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from reconciler.cli.options import Parser, Subparsers, context_of
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from reconciler.model.address import Address

SHELLS = ("bash", "zsh", "fish")
_ADDRESSES = frozenset({"ADDRESS", "ADDRESS ARN", "GLOB"})
_FILES, _FOLDERS = frozenset({"FILE", "PATH", "PLANFILE"}), frozenset({"DIR"})


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
            action.completer = _targets  # type: ignore[attr-defined]
        elif name in _ADDRESSES:
            action.completer = _addresses_for(action.dest)  # type: ignore[attr-defined]
        elif name in _FILES:
            action.completer = argcomplete.FilesCompleter()  # type: ignore[attr-defined]
        elif name in _FOLDERS:
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


def _targets(parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    from reconciler.spec.project import load_project

    context = context_of(parsed_args)
    return list(load_project(context.directory, context.config, allowed_paths=None).targets)


def _addresses_for(option: str) -> Any:
    from reconciler.model.address import KindName

    only = {"stop_live": (KindName.CHANNEL,)}.get(option, tuple(KindName))

    def completer(parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
        if parsed_args.command == "forget":
            return []  # of addresses that the spec does not have
        kinds = (KindName.CHANNEL, KindName.STREAM_KEY) if parsed_args.command == "rotate" else only
        return sorted(str(address) for address in _known(parsed_args) if address.kind in kinds)

    return completer


def _known(parsed_args: argparse.Namespace) -> set[Address]:
    """Return the addresses of the spec, of the selected targets. A spec with problems has none: nothing is printed while completing."""
    from reconciler.spec.desired import load_desired_states
    from reconciler.spec.project import load_project

    context = context_of(parsed_args)
    project = load_project(context.directory, context.config, allowed_paths=None)
    targets = tuple(one for name, one in project.targets.items() if not context.targets or name in context.targets)
    return {address for state in load_desired_states(project, targets).values() for address in state.resources}
