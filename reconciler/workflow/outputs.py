"""Collects what other systems need to know of the resources of the spec, and publishes it: parameters, files, and the outputs of a CI job.

Before an apply, collecting takes no other call than the survey's; after one, what it changed is read again.
Published is only what differs, where the project file says. What cannot be published is reported and does not undo the apply; the next apply
publishes it, also if it has nothing else to do. Parameters of resources that are gone are deleted if prune is enabled and the whole target was applied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.aws.reader import ReadRequest, read_again
from reconciler.errors import AwsError, UsageError, os_reason
from reconciler.files import replace_file
from reconciler.model.address import DELIVERED, Address, KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS, OUTPUT_NAMES, parent_of
from reconciler.model.resource import LiveResource, TargetOutputs
from reconciler.model.target import OutputPlace, Project, Publication, Store
from reconciler.plan.decide import managed_resources
from reconciler.plan.plan import Action, ApplyResult, Outcome, PlanOptions, Result
from reconciler.plan.selection import included, matches_any
from reconciler.report.accounts import outputs_env, outputs_json
from reconciler.spec.publications import parameter_folder
from reconciler.spec.templates import fill
from reconciler.terminal import display_json
from reconciler.workflow.survey import Survey

_STORED = re.compile(
    rf"({Store.SECRETS_MANAGER.value}|{Store.PARAMETER_STORE.value})(?:\.json)?:([A-Za-z0-9/_+=.@:-]+)"
)
"""The tag value that records a publication; anything else was not written by an apply."""


def outputs_of(survey: Survey, globs: Sequence[str] = ()) -> TargetOutputs:
    """Return the outputs of the resources of one target's spec that match one of the globs; all without globs.

    Raises ``AwsError`` if a kind of theirs could not be read: whether they exist is unknown.
    """
    options = PlanOptions(only=tuple(globs))
    addresses = [address for address in sorted(survey.desired.resources) if included(options, address)]
    unread = sorted({address.kind for address in addresses} & survey.live.unreadable.keys())
    if unread:
        raise AwsError(
            "; ".join(f"{KINDS[kind].titles} could not be read: {survey.live.unreadable[kind]}" for kind in unread)
        )
    found = managed_resources(survey.desired, survey.live)
    return TargetOutputs(
        survey.target.name,
        survey.live.account_id,
        survey.live.region,
        {address: _values(found[address], survey) for address in addresses if address in found},
        tuple(address for address in addresses if address not in found),
    )


def survey_after(survey: Survey, result: ApplyResult) -> Survey:
    """Return the survey with what an apply touched read again, in the same connection. Raises ``AwsError``."""
    touched: dict[KindName, set[str]] = {}
    keys: set[Address] = set()
    arns: dict[Address, set[str]] = {}
    done = {one.address for one in result.outcomes if one.result in (Result.DONE, Result.FAILED)}
    settled: tuple[Action | Outcome, ...] = (*survey.plan.actions, *result.outcomes)
    for one in settled:
        if one.address not in done:
            continue
        found = {one.arn} if one.arn else set()
        arns.setdefault(one.address, set()).update(found)
        if one.address.kind in CHILD_KINDS:
            keys.add(one.address)
        else:
            touched.setdefault(one.address.kind, set()).update(found)
    if not touched and not keys:
        return survey
    for address, resource in survey.live.claims(survey.desired.stack):
        arns.setdefault(address, set()).add(resource.arn)
    channels = {arn for key in keys for arn in arns.get(parent_of(key), ())}
    reread = read_again(
        survey.connection.gateway,
        ReadRequest(survey.desired.stack, ignore_tags=survey.desired.ignore_tags),
        {kind: frozenset(some) for kind, some in touched.items()},
        sorted(channels),
    )
    survey.connection.rest()
    resources = {}
    for kind in KINDS:
        old = (
            one
            for one in survey.live.of(kind)
            if one.arn not in touched.get(kind, ()) and one.properties.get("channelArn") not in channels
        )
        resources[kind] = tuple(sorted((*old, *reread.get(kind, ())), key=lambda one: one.arn))
    return survey._replace(live=survey.live._replace(resources=resources))


def _values(resource: LiveResource, survey: Survey) -> dict[str, str]:
    values = {"arn": resource.arn, "name": resource.name, **resource.outputs, "storedIn": _stored_in(resource, survey)}
    return {name: value for name, value in values.items() if value}


def _stored_in(resource: LiveResource, survey: Survey) -> str:
    """Return the ARN of the secret or parameter that a stream key's value was published to; empty if it was not.

    Secrets Manager accepts the ARN of a secret without the suffix that it adds to a name (API reference, ``GetSecretValue``).
    """
    recorded = _STORED.fullmatch(resource.tags.get(DELIVERED, ""))
    if recorded is None or recorded[2].startswith("arn:"):
        return recorded[2] if recorded else ""
    place = f"{survey.live.region}:{survey.live.account_id}"
    if recorded[1] == Store.SECRETS_MANAGER.value:
        return f"arn:aws:secretsmanager:{place}:secret:{recorded[2]}"
    return f"arn:aws:ssm:{place}:parameter/{recorded[2].removeprefix('/')}"


@dataclass(slots=True)
class Published:
    """What was published: names of parameters and paths of files. ``skipped`` and ``failures`` say what was not, and why."""

    written: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Published) -> None:
        """Add what was published elsewhere."""
        self.written += other.written
        self.deleted += other.deleted
        self.skipped += other.skipped
        self.failures += other.failures


def publish(
    project: Project,
    found: Sequence[tuple[Survey, TargetOutputs]],
    options: PlanOptions,
    environment: Mapping[str, str] = os.environ,
) -> Published:
    """Publish the outputs of these targets, each with the survey it was read in. Never raises for what cannot be published."""
    result = publish_parameters(project, found, options)
    publish_files(project, [outputs for _, outputs in found], result, environment)
    return result


def publish_parameters(
    project: Project, found: Sequence[tuple[Survey, TargetOutputs]], options: PlanOptions
) -> Published:
    """Publish the outputs of these targets that go to Parameter Store. See ``publish``."""
    result = Published()
    for survey, outputs in found:
        try:
            _publish_parameters(project, survey, outputs, options, result)
        except AwsError as error:
            result.failures.append(f"{outputs.name}: outputs are not published to Parameter Store: {error}")
    return result


def publish_files(
    project: Project, found: Sequence[TargetOutputs], result: Published, environment: Mapping[str, str] = os.environ
) -> None:
    """Publish the outputs of these targets that go to files and to the CI job, and add to the result. See ``publish``."""
    for publication in project.outputs:
        if publication.place is OutputPlace.PARAMETER_STORE:
            continue
        try:
            _write_files(project, publication, found, environment, result)
        except UsageError as error:
            result.failures.append(str(error))
        except OSError as error:
            result.failures.append(
                f"{error.filename or publication.name}: the outputs cannot be written ({os_reason(error)})"
            )


def stale_notes(project: Project, survey: Survey) -> tuple[str, ...]:
    """Return which parameters lack the present value of an output, as a note; nothing if all have it."""
    store = survey.connection.parameters
    if store is None or not any(one.place is OutputPlace.PARAMETER_STORE for one in project.outputs):
        return ()
    try:
        wanted = _wanted(project, outputs_of(survey))
        there = store.read(tuple(wanted))
    except AwsError as error:
        return (f"published outputs are unknown: {error}",)
    stale = [name for name, value in wanted.items() if there.get(name) != value]
    if not stale:
        return ()
    more = f" and {len(stale) - 1:,} more" if len(stale) > 1 else ""
    return (f"published outputs are out of date: {stale[0]}{more}; the next apply publishes them",)


def _publish_parameters(
    project: Project, survey: Survey, outputs: TargetOutputs, options: PlanOptions, result: Published
) -> None:
    store = survey.connection.parameters
    publications = [one for one in project.outputs if one.place is OutputPlace.PARAMETER_STORE]
    if not publications or store is None:
        return
    wanted = _wanted(project, outputs)
    there = store.read(tuple(wanted))
    for name, value in wanted.items():
        if there.get(name) == value or (name not in there and store.create(name, value, project.stack)):
            if there.get(name) != value:
                result.written.append(name)
            continue
        owner = store.owner(name)
        if owner != project.stack:
            whose = f"belongs to stack {owner}" if owner else "is not this stack's: it has no owner tag"
            result.failures.append(
                f"{outputs.name}: parameter {name} exists and {whose}; delete it, or change the name in outputs"
            )
            continue
        store.overwrite(name, value)
        result.written.append(name)
    if _may_prune(survey, options):
        gone = _gone(project, survey, outputs, publications)
        store.delete(gone)
        result.deleted += gone


def _may_prune(survey: Survey, options: PlanOptions) -> bool:
    whole = not (options.has_globs or survey.live.unreadable or survey.desired.missing)
    return whole and (options.prune or survey.target.prune)


def _gone(project: Project, survey: Survey, outputs: TargetOutputs, publications: Iterable[Publication]) -> list[str]:
    """Return our parameters that belong to no resource of the spec and of the account. Raises ``AwsError``."""
    store = survey.connection.parameters
    if store is None:
        return []
    addresses = {*survey.desired.resources, *(address for address, _ in survey.live.claims(project.stack))}
    every = {address: dict.fromkeys((*OUTPUT_NAMES, *KINDS[address.kind].outputs), "") for address in addresses}
    known = set(_wanted(project, outputs._replace(resources=every)))
    names = _names(project, outputs)
    folders = {fill(parameter_folder(one.name), names)[0] for one in publications}
    found = {name for folder in sorted(folders) for name in store.below(folder)}
    return sorted(name for name in found - known if store.owner(name) == project.stack)


def _names(project: Project, outputs: TargetOutputs) -> dict[str, str]:
    return {"stack": project.stack, "target": outputs.name, "region": outputs.region, "accountId": outputs.account_id}


def _wanted(project: Project, outputs: TargetOutputs) -> dict[str, str]:
    """Return the value of each parameter, by name."""
    names = _names(project, outputs)
    return {
        fill(publication.name, {**names, "kind": address.kind.value, "id": address.id, "output": output})[0]: value
        for publication in project.outputs
        if publication.place is OutputPlace.PARAMETER_STORE
        for address, values in _selected(publication, outputs).resources.items()
        for output, value in values.items()
    }


def _selected(publication: Publication, outputs: TargetOutputs) -> TargetOutputs:
    """Return the outputs that a publication is about."""

    def is_selected(address: Address) -> bool:
        return not publication.only or matches_any(address, publication.only)

    resources = {
        address: {name: value for name, value in values.items() if not publication.values or name in publication.values}
        for address, values in outputs.resources.items()
        if is_selected(address)
    }
    return outputs._replace(
        resources={address: values for address, values in resources.items() if values},
        missing=tuple(address for address in outputs.missing if is_selected(address)),
    )


def _write_files(
    project: Project,
    publication: Publication,
    targets: Sequence[TargetOutputs],
    environment: Mapping[str, str],
    result: Published,
) -> None:
    """Write a publication's files, without those for which a resource is missing. Raises ``OSError`` and ``UsageError``."""
    chosen = []
    for outputs in targets:
        selected = _selected(publication, outputs)
        if selected.missing:
            more = f" and {len(selected.missing) - 1:,} more" if len(selected.missing) > 1 else ""
            what = "job outputs are" if publication.place is OutputPlace.JOB else f"{publication.name} is"
            verb = "do" if more else "does"
            result.skipped.append(f"{outputs.name}: {what} not written: {selected.missing[0]}{more} {verb} not exist")
        else:
            chosen.append(selected)
    several = len(project.targets) > 1
    if publication.place is OutputPlace.JOB:
        if chosen:
            _write_job_outputs(
                project, publication, outputs_env(chosen, with_target=several, quote=str), environment, result
            )
        return
    for outputs in chosen:
        name = fill(publication.name, _names(project, outputs))[0]
        if publication.format == "env":
            text = outputs_env([outputs], with_target=several)
        else:
            text = display_json(outputs_json(project.stack, [outputs]), indent=2) + "\n"
        _write_file(project, name, text, result)


def _write_job_outputs(
    project: Project, publication: Publication, text: str, environment: Mapping[str, str], result: Published
) -> None:
    if environment.get("GITHUB_ACTIONS") == "true" and (file := environment.get("GITHUB_OUTPUT")):
        try:
            _append_lines(Path(file), text)
        except OSError as error:
            raise UsageError(f"{file}: the outputs cannot be written ({os_reason(error)})") from None
        result.written.append(file)
    elif environment.get("GITLAB_CI") == "true":
        _write_file(project, fill(publication.name, {"stack": project.stack})[0], text, result)


def _write_file(project: Project, name: str, text: str, result: Published) -> None:
    root = os.path.realpath(project.root)
    path = Path(os.path.normpath(Path(root, name)))
    # What is outside is allowed by its name; a link made since then is not.
    if path.is_relative_to(root) and not Path(os.path.realpath(path.parent)).is_relative_to(root):
        raise UsageError(f"{project.prefix}{name}: leads out of the project through a link; remove the link")
    path.parent.mkdir(parents=True, exist_ok=True)
    if write_if_different(path, text):
        result.written.append(f"{project.prefix}{name}")


def _append_lines(path: Path, text: str) -> None:
    """Append lines to a file, on a line of their own also after a step that left its last line open. Raises ``OSError``."""
    with path.open("a+b") as stream:
        if stream.seekable() and stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            text = text if stream.read(1) == b"\n" else f"\n{text}"
        stream.write(text.encode("utf-8", "backslashreplace"))


def write_if_different(path: Path, text: str) -> bool:
    """Replace a file as a whole if its content differs; return whether it did. Raises ``OSError``."""
    if path.is_file() and path.read_bytes() == text.encode("utf-8", "backslashreplace"):
        return False
    replace_file(path, text, mode=None)
    return True
