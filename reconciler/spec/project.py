"""Loads the project file as a validated ``Project``, and compares it with a pinned one: where requests go, with whose rights, and who is notified.

``project_models`` checks single fields; this module checks rules between them: targets, receivers, guardrails and channel defaults.
Reads only the project file and the pin.

A plan with credentials trusts the project file that it is given, which may come from a pull request.
A pin is a project file that comes from elsewhere: the main branch, or a file of the operator.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.errors import PlanRefused, Problem, SpecError, UsageError
from reconciler.model.target import (
    DEFAULT_TOPICS,
    HOME_REGIONS,
    FileLock,
    Guardrails,
    Lock,
    OnLive,
    Project,
    Receiver,
    ReceiverType,
    S3Lock,
    S3State,
    Shards,
    Target,
    Topic,
    seconds_of,
)
from reconciler.network import is_loopback
from reconciler.spec.files import DEFAULT_SPECS, MAX_PROJECT_SIZE, Unreadable, read_inside
from reconciler.spec.keys import sink_of
from reconciler.spec.model_errors import faults_of
from reconciler.spec.problems import (
    MAX_PROBLEMS,
    Fault,
    KeyPath,
    Problems,
    format_path,
    nearest,
    quote,
    suggestion,
    target_hint,
)
from reconciler.spec.project_models import ProjectFile
from reconciler.spec.publications import leads_outside, paths_in, publication_faults, publications_of
from reconciler.spec.rules import (
    WITH_DEFAULTS,
    conflicting_references,
    parse_ignored_fields,
    tag_count_fault,
    tag_faults,
)
from reconciler.spec.templates import SAMPLE, fill_fields
from reconciler.spec.yaml import load
from reconciler.terminal import mask_urls

DEFAULT_NAME = "ivs-reconciler.yaml"

_AWS_ONLY = ("roleArn", "externalId", "profile", "endpointUrl")


def receiver_faults(raw: Mapping[str, Any], targets: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults between fields of receivers."""
    for name, receiver in raw.items():
        if not isinstance(receiver, Mapping):
            continue
        path = ("receivers", name)
        types = [one.value for one in ReceiverType if receiver.get(one.value) is not None]
        if len(types) != 1:
            what = f"has more than one type ({', '.join(types)})" if types else "has no type"
            yield Fault(
                path, f"{format_path(path)} {what}", f"set exactly one of {', '.join(ReceiverType)}", at_key=True
            )
        for index, target in enumerate(receiver.get("targets") or ()):
            if target not in targets:
                yield Fault(
                    (*path, "targets", index),
                    f"{format_path(path)}: unknown target {quote(target)}",
                    target_hint(str(target), map(str, targets)),
                )
        for index, topic in enumerate(receiver.get("about") or ()):
            if topic not in set(Topic):
                yield Fault(
                    (*path, "about", index),
                    f"{format_path(path)}: unknown topic {quote(topic)}",
                    suggestion(str(topic), Topic, otherwise=f"the topics are {', '.join(Topic)}"),
                )


def receivers_of(raw: Mapping[str, Any]) -> tuple[Receiver, ...]:
    """Return the receivers of a valid ``receivers`` block, in the order they are written."""
    return tuple(_receiver(name, receiver) for name, receiver in raw.items())


def _receiver(name: str, raw: Mapping[str, Any]) -> Receiver:
    (kind,) = (one for one in ReceiverType if raw.get(one.value) is not None)
    how = raw[kind.value]
    about = raw.get("about")
    return Receiver(
        name=name,
        type=kind,
        url_env=how.get("urlEnv") or "",
        secret_env=how.get("secretEnv") or "",
        arn=how.get("topicArn") or how.get("busArn") or "",
        profile=how.get("profile"),
        role_arn=how.get("roleArn"),
        topics=DEFAULT_TOPICS if about is None else frozenset(map(Topic, about)),
        targets=frozenset(raw.get("targets") or ()),
    )


def load_project(
    directory: Path, config: str | None = None, *, prefix: str = "", allowed_paths: tuple[str, ...] | None = ()
) -> Project:
    """Return the project of a directory, read from ``config`` or ``ivs-reconciler.yaml``. Messages put ``prefix`` before file names.

    ``allowed_paths`` are directories outside the project that its state and lock files may be in; ``None`` checks no paths, for a caller that opens none.
    Raises ``SpecError`` with every problem of the file.
    """
    path = Path(os.path.abspath(directory / (config or DEFAULT_NAME)))  # noqa: PTH100 - resolve() would follow links and change the names in messages
    source = load(prefix + path.name, _read(path, prefix, named=config is not None))
    problems = Problems()
    source.report(problems)
    problems.raise_any()
    if len(source.documents) > 1:
        problems.add(
            source.name,
            source.mark((), document=1),
            "a project file must be a single document, but a second one starts here",
            "remove the --- line, or move the document to its own file",
        )
    raw = source.documents[0] if source.documents else {}
    faults = [*_faults(raw if raw is not None else {})]
    if isinstance(raw, dict):
        wrong = {fault.path[1] for fault in faults if fault.path[:1] == ("targets",) and fault.path[2:3] in _LOCATION}
        faults += _same_location_faults(raw, path.parent, wrong)
    if allowed_paths is not None and isinstance(raw, dict):
        faults += _path_faults(raw, path.parent, allowed_paths)
    for fault in faults:
        problems.add(source.name, source.mark(fault.path, at_key=fault.at_key), fault.what, fault.hint)
    problems.raise_any()
    return _project(path, prefix, raw)


def prefix_of(directory: str | Path, config: str | None) -> str:
    """Return the directory of the project file as given, for ``prefix``; empty for the current directory."""
    folder = (Path(directory) / (config or DEFAULT_NAME)).parent.as_posix()
    return "" if folder == "." else folder.rstrip("/") + "/"


def _read(path: Path, prefix: str, *, named: bool) -> bytes:
    try:
        return read_inside(str(path.parent), path.name, max_bytes=MAX_PROJECT_SIZE)
    except Unreadable as error:
        what, hint = error.what, error.hint
    if not os.path.lexists(path):
        what = f"project file not found in {path.parent}"
        hint = "check the path" if named else "create one with init, or pass its directory with -C"
    elif path.is_dir():
        what, hint = "is a directory", "pass a project file"
    raise SpecError((Problem(prefix + path.name, "", what, hint),))


def _faults(raw: object) -> Iterator[Fault]:
    if not isinstance(raw, dict):
        yield Fault((), "a project file must be a mapping", "start with stack: <name>")
        return
    given = {key: value for key, value in raw.items() if value is not None}
    faulty: set[KeyPath] = set()
    skipped: list[int] = []
    if isinstance(defaults := given.get("defaults"), dict):
        given["defaults"], unknown = _sampled(defaults)
        for fault in unknown:
            faulty.add(fault.path)
            yield fault
    for fault in faults_of(ProjectFile, given, MAX_PROBLEMS - 1, skipped.append):
        faulty.add(fault.path)
        yield fault
    if skipped:
        yield Fault((), f"and {skipped[0]:,} more problems in this file")
        return
    for name, target in _mapping(given, "targets").items():
        if isinstance(target, dict):
            # Invalid fields are left out, so that the others can still be checked.
            yield from _target_faults(
                ("targets", name), {key: value for key, value in target.items() if ("targets", name, key) not in faulty}
            )
            if given.get("specs") == [] and not target.get("specs"):
                yield Fault(
                    ("targets", name),
                    f"{format_path(('targets', name))} has no spec files: specs of the project is empty",
                    "add specs to the target, or patterns to the project's specs",
                    at_key=True,
                )
    bad = {path[1] for path in faulty if path[:1] == ("receivers",) and len(path) > 1}
    receivers = {name: receiver for name, receiver in _mapping(given, "receivers").items() if name not in bad}
    yield from receiver_faults(receivers, _mapping(given, "targets"))
    if not any(path[:1] == ("outputs",) for path in faulty):
        yield from publication_faults(given.get("outputs"), _mapping(given, "targets"), given.get("stack"))
    yield from _guardrail_faults(given, faulty)
    if not any(path[:1] == ("defaults",) for path in faulty):
        yield from _default_faults(_mapping(given, "defaults"))


def _sampled(defaults: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the defaults with their placeholders replaced by samples, and a fault for each unknown one."""
    faults: list[Fault] = []
    sampled = {**defaults, **fill_fields({"tags": defaults.get("tags")}, SAMPLE, faults)}
    found = [fault.below(("defaults",)) for fault in faults]
    if isinstance(channel := defaults.get("channel"), dict):
        faults = []
        sampled["channel"] = fill_fields(channel, SAMPLE, faults)
        found += [fault.below(("defaults", "channel")) for fault in faults]
    return {key: value for key, value in sampled.items() if key in defaults}, found


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


_LOCATION = [(name,) for name in ("region", "accountId", "profile", "roleArn", "externalId", "sandbox", "endpointUrl")]
"""The fields that decide where a target is, as paths within it."""


def _same_location_faults(raw: Mapping[str, Any], root: Path, wrong: Container[str | int]) -> Iterator[Fault]:
    """Yield a fault for each target that is certainly in the account and region of an earlier one: each would take the other's resources for its own.

    Where the ``wrong`` targets are is unknown: fields that decide it have faults of their own.
    """
    seen: dict[tuple[str, ...], str] = {}
    for name, target in _mapping(raw, "targets").items():
        if name in wrong or not isinstance(target, dict) or not isinstance(region := target.get("region"), str):
            continue
        sandbox, endpoint = target.get("sandbox"), str(target.get("endpointUrl") or "").rstrip("/")
        server = os.path.realpath(root / sandbox) if isinstance(sandbox, str) and "\0" not in sandbox else endpoint
        # Two targets are in one account for certain if both state it, and otherwise if they use the same credentials.
        credentials = (server, region, *(repr(target.get(key)) for key in ("profile", "roleArn", "externalId")))
        unstated = (*credentials, "")
        if (account := _account_of(target)) is None:
            same, places = seen.get(credentials), (credentials, unstated)
        else:
            stated = (server, region, account)
            same, places = seen.get(stated, seen.get(unstated)), (credentials, stated)
        for place in places:
            seen.setdefault(place, name)
        if same is not None:
            yield Fault(
                ("targets", name),
                f"{format_path(('targets', name))} has the same account and region as {format_path(('targets', same))}",
                "each would change and delete the other's resources; merge the two, or give each its own stack in its own project file",
                at_key=True,
            )


def _account_of(target: Mapping[str, Any]) -> str | None:
    role = target.get("roleArn")
    stated = target.get("accountId") or (role.split(":")[4] if isinstance(role, str) and role.count(":") >= 5 else None)
    return stated if isinstance(stated, str) else None


def _path_faults(raw: Mapping[str, Any], root: Path, allowed: tuple[str, ...]) -> Iterator[Fault]:
    """Yield a fault for each path of a target that leads out of the project, also through a link, and is not allowed.

    The project file may come from a pull request, and the files are created and overwritten.
    """
    places = [os.path.realpath(root), *map(os.path.realpath, allowed)]
    for name, target in _mapping(raw, "targets").items():
        given = target if isinstance(target, dict) else {}
        for path, value in (
            (("sandbox",), given.get("sandbox")),
            (("lock", "file"), _mapping(given, "lock").get("file")),
        ):
            if not isinstance(value, str) or not value:
                continue
            real = os.path.realpath(root / value) if "\0" not in value else ""
            if not any(os.path.commonpath([real or "/", place]) == place for place in places):
                full = ("targets", name, *path)
                yield _outside(full, value)
    for output, text in paths_in(raw.get("outputs")):
        if leads_outside(root, text, _mapping(raw, "targets"), raw.get("stack"), places):
            yield _outside(output, text)


def _outside(path: KeyPath, value: str) -> Fault:
    return Fault(
        path,
        f"{format_path(path)} {quote(value)} is outside the project",
        "use a path below the directory of the project file, or allow its directory with --allow-path DIR",
    )


def _target_faults(path: tuple[str, ...], raw: Mapping[str, Any]) -> Iterator[Fault]:
    region = raw.get("region")
    if isinstance(region, str) and region not in HOME_REGIONS:
        near = nearest(region, HOME_REGIONS)
        hint = (
            f"did you mean {near}? IVS regions: {', '.join(HOME_REGIONS)}"
            if near
            else f"write one of {', '.join(HOME_REGIONS)}"
        )
        yield Fault(
            (*path, "region"), f"{format_path((*path, 'region'))}: IVS has no control plane in {quote(region)}", hint
        )
    if raw.get("sandbox") is not None:
        for name in _AWS_ONLY:
            if raw.get(name) is not None:
                yield Fault(
                    (*path, name),
                    f"{format_path((*path, name))} cannot be combined with sandbox",
                    "remove one of the two",
                    at_key=True,
                )
    endpoint = raw.get("endpointUrl")
    if isinstance(endpoint, str) and endpoint.startswith("http:") and not _is_loopback(endpoint):
        yield Fault(
            (*path, "endpointUrl"),
            f"{format_path((*path, 'endpointUrl'))} {quote(endpoint)} would send signed requests unencrypted to another machine",
            "use https, or set AWS_ENDPOINT_URL in the environment",
        )
    if raw.get("externalId") is not None and raw.get("roleArn") is None and raw.get("sandbox") is None:
        yield Fault(
            (*path, "externalId"),
            f"{format_path((*path, 'externalId'))} requires roleArn",
            "add roleArn, or remove externalId",
            at_key=True,
        )
    role, account = raw.get("roleArn"), raw.get("accountId")
    if role is not None and account is not None and role.split(":")[4] != account:
        yield Fault(
            (*path, "roleArn"),
            f"{format_path((*path, 'roleArn'))} is in account {role.split(':')[4]}, but accountId is {account}",
            "use a role in the same account",
        )
    lock = raw.get("lock")
    if isinstance(lock, dict) and sum(lock.get(name) is not None for name in ("s3", "file")) != 1:
        yield Fault(
            (*path, "lock"),
            f"{format_path((*path, 'lock'))} must have exactly one of s3 and file",
            "set one of the two",
        )


def _guardrail_faults(raw: Mapping[str, Any], faulty: set[KeyPath]) -> Iterator[Fault]:
    """Yield the faults of durations, and of limits of a target that are laxer than the project's."""
    blocks: dict[KeyPath, Mapping[str, Any]] = {("guardrails",): _mapping(raw, "guardrails")}
    for name, target in _mapping(raw, "targets").items():
        if isinstance(target, dict):
            blocks[("targets", name, "guardrails")] = _mapping(target, "guardrails")
    wrong = {path for path in faulty if "guardrails" in path}
    for path, block in blocks.items():
        deadline = block.get("liveDeadline")
        if isinstance(deadline, str):
            try:
                seconds_of(deadline)
            except ValueError as error:
                full = (*path, "liveDeadline")
                wrong.add(full)
                yield Fault(full, f"{format_path(full)} {quote(deadline)} {error}")
    if wrong:
        return
    limits = _guardrails(blocks[("guardrails",)])
    for path, block in blocks.items():
        for name in block if path[0] == "targets" else ():
            own = _guardrails({**blocks[("guardrails",)], name: block[name]})
            if limits.stricter(own) != own:
                full = (*path, name)
                yield Fault(
                    full,
                    f"{format_path(full)} is less strict than guardrails.{name}",
                    "a target can only be stricter than the project; change guardrails, or remove this line",
                    at_key=True,
                )


def _default_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    channel = raw.get("channel") or {}
    tags, channel_tags = raw.get("tags") or {}, channel.get("tags") or {}
    found: list[tuple[tuple[str, ...], Fault]] = [(("defaults", "tags"), fault) for fault in tag_faults(tags)]
    found += [(("defaults", "channel", "tags"), fault) for fault in tag_faults(channel_tags)]
    if too_many := tag_count_fault(len({**tags, **channel_tags})):
        found.append((("defaults",), too_many))
    found += [(("defaults", "channel"), fault) for fault in conflicting_references(channel)]
    found += [
        (("defaults", "channel"), fault)
        for fault in parse_ignored_fields(WITH_DEFAULTS, channel.get("ignoreChanges") or ())[1]
    ]
    sink = (raw.get("streamKey") or {}).get("sink")
    if sink is not None:
        found += [(("defaults", "streamKey", "sink"), fault) for fault in sink_of(sink, SAMPLE)[1]]
    for prefix, fault in found:
        yield fault.below(prefix)


def _project(path: Path, prefix: str, raw: Mapping[str, Any]) -> Project:
    root = path.parent
    defaults = raw.get("defaults") or {}
    channel = {key: value for key, value in (defaults.get("channel") or {}).items() if value is not None}
    specs = raw.get("specs")
    return Project(
        path=str(path),
        root=str(root),
        stack=raw["stack"],
        specs=tuple(specs) if specs is not None else DEFAULT_SPECS,
        default_tags=dict(defaults.get("tags") or {}),
        default_channel=channel,
        ignore_tags=tuple(raw.get("ignoreTags") or ()),
        targets={
            name: _target(name, target, root, raw.get("guardrails") or {}) for name, target in raw["targets"].items()
        },
        guardrails=_guardrails(raw.get("guardrails") or {}),
        default_stream_key={
            key: value for key, value in (defaults.get("streamKey") or {}).items() if value is not None
        },
        receivers=receivers_of(raw.get("receivers") or {}),
        prefix=prefix,
        outputs=publications_of(raw.get("outputs")),
        state=_state(raw),
    )


def _target(name: str, raw: Mapping[str, Any], root: Path, guardrails: Mapping[str, Any]) -> Target:
    sandbox, endpoint, limits = raw.get("sandbox"), raw.get("endpointUrl"), raw.get("rateLimits")
    paced = limits == "aws" if limits is not None else sandbox is None and not _is_loopback(endpoint)
    return Target(
        name=name,
        region=raw["region"],
        account_id=raw.get("accountId"),
        role_arn=raw.get("roleArn"),
        external_id=raw.get("externalId"),
        profile=raw.get("profile"),
        endpoint_url=endpoint,
        sandbox=os.path.normpath(root / sandbox) if sandbox is not None else None,
        prune=bool(raw.get("prune")),
        paced=paced,
        specs=tuple(raw.get("specs") or ()),
        lock=_lock(raw.get("lock"), root),
        guardrails=_guardrails({**guardrails, **raw["guardrails"]}) if raw.get("guardrails") else None,
    )


def _state(raw: Mapping[str, Any]) -> S3State | None:
    found = _mapping(_mapping(raw, "state"), "s3")
    if not found:
        return None
    region = found.get("region") or next(iter(raw["targets"].values()))["region"]
    prefix = found.get("prefix") or ""
    folder = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
    return S3State(found["bucket"], folder, region, found.get("profile"), found.get("roleArn"))


def _lock(raw: Mapping[str, Any] | None, root: Path) -> Lock | None:
    if raw is None:
        return None
    if raw.get("file") is not None:
        return FileLock(os.path.normpath(root / raw["file"]))
    return S3Lock(raw["s3"]["bucket"], raw["s3"]["key"], raw["s3"].get("region"))


def _is_loopback(endpoint: str | None) -> bool:
    if endpoint is None:
        return False

    if "\\" in endpoint:
        return False  # not all readers of URLs agree on the host
    return is_loopback(urlsplit(endpoint).hostname or "")


def _guardrails(raw: Mapping[str, Any]) -> Guardrails:
    standard = Guardrails()
    # null disables a limit; a missing one has its default.
    return Guardrails(
        max_deletes=raw.get("maxDeletes", standard.max_deletes),
        max_delete_percent=raw.get("maxDeletePercent", standard.max_delete_percent),
        max_updates=raw.get("maxUpdates", standard.max_updates),
        max_update_percent=raw.get("maxUpdatePercent", standard.max_update_percent),
        on_live=OnLive(raw.get("onLive") or standard.on_live),
        live_deadline=seconds_of(raw["liveDeadline"])
        if raw.get("liveDeadline") is not None
        else standard.live_deadline,
    )


def load_pin(path: Path) -> Project:
    """Return the project of a pin. Raises ``SpecError``. Nothing of it is opened, so its paths may lead anywhere."""
    return load_project(path.parent, path.name, prefix=prefix_of(path.parent, path.name), allowed_paths=None)


def shared_pin_problems(project: Project, pin: Project) -> Iterator[Problem]:
    """Yield what all targets of a project have otherwise than the pin: the stack, and receivers of notifications."""
    if project.stack != pin.stack:
        yield _pin_problem(project, pin, ("stack",), project.stack, pin.stack)
    for name in ("outputs", "state"):
        if getattr(project, name) != getattr(pin, name):
            yield Problem(
                _file_name(project), "", f"{name} is not as in {pin.path}", f"change the pin first, or use its {name}"
            )
    ours, pinned = ({receiver.name: receiver for receiver in each.receivers} for each in (project, pin))
    for name in dict.fromkeys((*ours, *pinned)):
        if ours.get(name) != pinned.get(name):
            yield Problem(
                _file_name(project),
                "",
                f"{format_path(('receivers', name))} is not as in {pin.path}",
                "change the pin first, or use its receivers",
            )


def target_pin_problems(project: Project, target: Target, pin: Project) -> Iterator[Problem]:
    """Yield what a target has otherwise than the pin."""
    known = pin.targets.get(target.name)
    if known is None:
        yield Problem(
            _file_name(project),
            "",
            f"{format_path(('targets', target.name))} is not in {pin.path}",
            "add it to the pin first",
        )
        return
    ours, pinned = _pinned_fields(target, project.root), _pinned_fields(known, pin.root)
    for name, value in ours.items():
        if value != pinned[name]:
            yield _pin_problem(project, pin, ("targets", target.name, name), value, pinned[name])


def _file_name(project: Project) -> str:
    """Return the name of the project file, as messages show it."""
    return project.prefix + Path(project.path).name


def _pin_problem(
    project: Project, pin: Project, path: tuple[str, ...], value: str | None, pinned: str | None
) -> Problem:
    given = "not set" if value is None else quote(mask_urls(value))
    wanted = "does not set it" if pinned is None else f"pins it to {quote(mask_urls(pinned))}"
    return Problem(
        _file_name(project),
        "",
        f"{format_path(path)} is {given}, and {pin.path} {wanted}",
        "change the pin first, or use its value",
    )


def _pinned_fields(target: Target, root: str) -> Mapping[str, str | None]:
    return {
        "region": target.region,
        "accountId": target.account_id,
        "roleArn": target.role_arn,
        "externalId": target.external_id,
        "profile": target.profile,
        "endpointUrl": target.endpoint_url,
        "sandbox": os.path.relpath(target.sandbox, root) if target.sandbox else None,
        "lock": _lock_words(target, root),
    }


def _lock_words(target: Target, root: str) -> str | None:
    match target.lock:
        case None:
            return None
        case FileLock(path):
            return os.path.relpath(path, root)
        case S3Lock(bucket, key, region):
            return f"s3://{bucket}/{key} in {region or target.region}"


def load_targets(
    directory: Path,
    config: str | None,
    names: tuple[str, ...],
    *,
    prefix: str | None = None,
    allowed_paths: tuple[str, ...] = (),
    pin: Path | None = None,
    shard: Shards | None = None,
) -> tuple[Project, tuple[Target, ...]]:
    """Return the project and the targets of these names; no name means all targets. With ``shard``, those of them that are in it.

    Messages name files relative to the current directory, or below ``prefix``. ``allowed_paths`` are as in ``load_project``; ``pin`` is the file that the project is compared with.
    Raises ``SpecError``, ``UsageError`` for an unknown target, and ``PlanRefused`` for what differs from the pin.
    """
    project = load_project(
        directory,
        config,
        prefix=prefix_of(directory, config) if prefix is None else prefix,
        allowed_paths=allowed_paths,
    )
    unknown = [name for name in names if name not in project.targets]
    if unknown:
        hint = target_hint(unknown[0], project.targets)
        raise UsageError(f"{project.path}: no target {', '.join(map(repr, unknown))}; {hint}")
    targets = tuple(target for name, target in project.targets.items() if not names or name in names)
    if shard is not None:
        targets = shard.of(targets)
    if pin is not None:
        _check_pin(project, targets, load_pin(pin))
    return project, targets


def _check_pin(project: Project, targets: tuple[Target, ...], pin: Project) -> None:
    problems = [*shared_pin_problems(project, pin)]
    for target in targets:
        problems += target_pin_problems(project, target, pin)
    if problems:
        raise PlanRefused("\n".join(map(str, problems)))
