"""Whatever a spec file looks like, an edit changes its own lines: values become those of the edit, comments and other lines stay in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.export.merge import REMOVED, CannotMerge, Edit, merge_edits
from reconciler.spec.yaml import load

FIELDS: dict[str, tuple[Any, ...]] = {
    "name": ("main", "NO", "12", "ж"),
    "latencyMode": ("LOW", "NORMAL"),
    "authorized": (True, False),
    "type": ("BASIC", "STANDARD"),
}
KEYS = ("team", "event", "a/b")
QUOTES = ("{}", '"{}"', "'{}'")
SPACES = (" ", " ", "   ")


class Written:
    """A spec file with comments in odd places, and what is on each of its lines."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.indent = draw(st.sampled_from([2, 4]))
        self.lines: list[tuple[str, tuple[str, ...]]] = []
        self.number = 0
        for _ in range(draw(st.integers(0, 2))):
            self.remark(0)
        self.line(0, "channels:")
        for identifier in ("main", "side", "third")[: draw(st.integers(1, 3))]:
            self.remarks(1)
            self.entry(identifier)
        self.remarks(draw(st.integers(0, 2)))

    def remark(self, depth: int) -> None:
        self.number += 1
        self.line(depth, f"# remark {self.number}")

    def remarks(self, depth: int) -> None:
        if self.draw(st.integers(0, 3)) == 0:
            self.remark(depth)
        if self.draw(st.integers(0, 5)) == 0:
            self.lines.append(("", ()))

    def line(self, depth: int, text: str, path: tuple[str, ...] = ()) -> None:
        self.lines.append((" " * (self.indent * depth) + text, path))

    def value(self, value: Any) -> str:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        quotes = (
            self.draw(st.sampled_from(QUOTES[1:] if text.isdigit() else QUOTES)) if isinstance(value, str) else "{}"
        )
        after = self.draw(st.sampled_from(["", "", "  # why", " # a: b"]))
        return f"{self.draw(st.sampled_from(SPACES))}{quotes.format(text)}{after}"

    def entry(self, identifier: str) -> None:
        chosen = self.draw(st.lists(st.sampled_from([*FIELDS]), unique=True))
        tags = self.draw(st.lists(st.sampled_from(KEYS), unique=True))
        if not chosen and not tags:
            self.line(1, f"{identifier}: {{}}", (identifier,))
            return
        if self.draw(st.integers(0, 3)) == 0 and not tags:
            fields = ", ".join(
                f"{name}: {str(FIELDS[name][0]).lower()}" for name in chosen if name in ("authorized", "type")
            )
            self.line(1, f"{identifier}: {{{fields}}}  # flow", (identifier,))
            return
        self.line(1, f"{identifier}:", (identifier,))
        for name in chosen:
            self.remarks(2)
            self.line(2, f"{name}:" + self.value(self.draw(st.sampled_from(FIELDS[name]))), (identifier, name))
        if tags:
            self.remarks(2)
            self.line(2, "tags:", (identifier, "tags"))
            for key in tags:
                self.remarks(3)
                self.line(
                    3, f"{key}:" + self.value(self.draw(st.sampled_from(["v", "NO", "12"]))), (identifier, "tags", key)
                )

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line, _ in self.lines)


@st.composite
def cases(draw: Callable[[Any], Any]) -> tuple[Written, list[Edit]]:
    file = Written(draw)
    ids = [*load("", file.text.encode()).documents[0]["channels"]]
    edits: dict[tuple[str, ...], Edit] = {}
    for _ in range(draw(st.integers(1, 3))):
        identifier = draw(st.sampled_from(ids))
        if draw(st.booleans()):
            name = draw(st.sampled_from([*FIELDS]))
            path: tuple[str, ...] = (name,)
            value = draw(st.sampled_from([REMOVED, *FIELDS[name]]))
        else:
            path, value = (
                ("tags", draw(st.sampled_from(KEYS))),
                draw(st.sampled_from([REMOVED, "new", "NO", "0o17", ""])),
            )
        edits[(identifier, *path)] = Edit(0, "channels", identifier, path, value)
    return file, [*edits.values()]


def edited(document: Any, edits: list[Edit]) -> Any:
    for edit in edits:
        here = document["channels"]
        for name in (edit.id, *edit.path[:-1]):
            here = here.setdefault(name, {})
        if edit.value is REMOVED:
            here.pop(edit.path[-1], None)
        else:
            here[edit.path[-1]] = edit.value
    return without_empty(document)


def without_empty(document: Any) -> Any:
    for body in document["channels"].values():
        if body and not body.get("tags", True):
            del body["tags"]
    return {name: body or {} for name, body in document["channels"].items()}


@settings(max_examples=80, deadline=None)
@given(cases())
def test_an_edit_changes_its_own_lines(case: tuple[Written, list[Edit]]) -> None:
    file, edits = case
    try:
        text = merge_edits(file.text, edits)
    except CannotMerge:
        return
    after = load("", text.encode())
    assert not after.problems
    assert without_empty(after.documents[0]) == edited(load("", file.text.encode()).documents[0], edits)
    paths = {(edit.id, *edit.path) for edit in edits}
    touched = paths | {path[:-1] for path in paths} | {path[:1] for path in paths}
    lines = iter(text.splitlines())
    for line, path in file.lines:
        if line.strip() and path not in touched:
            assert line in lines, f"{line!r} is lost or moved"
