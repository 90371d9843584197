"""``schema``: prints the JSON Schemas of project file, spec files, plan file, drift report, apply events and outputs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers
from reconciler.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = ("project", "spec", "plan", "drift", "events", "outputs")


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "schema",
        parents=[common],
        help="print the JSON Schemas",
        description="Print a JSON Schema, write all of them to a directory, or check that a directory is up to date.",
    )
    parser.add_argument("name", nargs="?", choices=_NAMES, help="schema to print (default: all, as one object)")
    parser.add_argument("--write", metavar="DIR", help="write all schemas to DIR")
    parser.add_argument("--check", metavar="DIR", help="compare with DIR; exit with 1 if a schema is out of date")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    import json
    from pathlib import Path

    texts = schema_texts()
    if args.write:
        folder = Path(args.write)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return ExitCode.OK
    if args.check:
        stale = [name for name, text in texts.items() if not _is(Path(args.check) / name, text)]
        if stale:
            raise UsageError(
                f"{args.check}: out of date: {', '.join(stale)}; run: ivs-reconciler schema --write {args.check}"
            )
        return ExitCode.OK
    if args.name:
        sys.stdout.write(texts[f"{args.name}.schema.json"])
    else:
        documents = {name: json.loads(text) for name, text in texts.items()}
        sys.stdout.write(json.dumps(documents, indent=2, ensure_ascii=False) + "\n")
    return ExitCode.OK


def schema_texts() -> dict[str, str]:
    """Return every schema by its file name."""
    import json

    from reconciler.report.json_schemas import drift_schema, events_schema, outputs_schema, plan_schema
    from reconciler.spec.project_models import schemas

    others = {
        "plan.schema.json": plan_schema(),
        "drift.schema.json": drift_schema(),
        "events.schema.json": events_schema(),
        "outputs.schema.json": outputs_schema(),
    }
    documents: dict[str, object] = {**schemas(), **others}
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
