"""JSON formats: one table of members reads a value strictly, writes it, and gives its JSON Schema. pydantic-core does all three.

A form is a schema of pydantic-core; its ``metadata`` has names, and what only the published schema says.
A document that is too large to be held twice is read with ``JsonStream``, a part at a time.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cached_property
from itertools import count
from operator import attrgetter
from typing import Any, TypeAlias, cast

from pydantic_core import PydanticCustomError, SchemaSerializer, SchemaValidator, ValidationError
from pydantic_core import core_schema as core

Form: TypeAlias = core.CoreSchema


class FormatError(ValueError):
    """What is wrong with JSON content, and where."""


class JsonError(ValueError):
    """What is wrong with text that is not JSON, with the line and column."""


class DuplicateKey(JsonError):
    """An object has a key twice, which readers understand differently."""


_SENTENCES = {
    "missing": "is missing",
    "string_type": "is not a string",
    "bool_type": "is not true or false",
    "int_type": "is not a whole number",
    "greater_than_equal": "is not a count",
    "tuple_type": "is not a list",
    "dict_type": "is not an object",
}
"""What ``FormatError`` says, by pydantic's type of error."""


_SPACE = re.compile(r"[ \t\n\r]*")
_MAX_TOKEN = 16
"""More characters than an error's position can be before the end of a text that ends inside a word, a number or an escape."""


class Format:
    """A form, compiled when it is first used."""

    def __init__(self, form: Form) -> None:
        self._form = form

    @cached_property
    def _validator(self) -> SchemaValidator:
        return SchemaValidator(self._form)

    @cached_property
    def _serializer(self) -> SchemaSerializer:
        return SchemaSerializer(self._form)

    def read(self, content: object, place: str = "") -> Any:
        """Return the value of plain JSON. Raises ``FormatError`` with the JSON pointer, after ``place``, of the first wrong member."""
        try:
            return self._validator.validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
        pointer = place + "".join(f"/{token}" for token in first["loc"])
        if first["type"] == "version":
            raise FormatError(first["msg"])
        if first["type"] == "value_error":
            raise FormatError(f"{pointer}: {first['ctx']['error']}")
        raise FormatError(f"{pointer or 'the file'} {_SENTENCES.get(first['type'], first['msg'])}")

    def write(self, value: object) -> dict[str, Any]:
        """Return a value as plain JSON."""
        return cast("dict[str, Any]", self._serializer.to_python(value, mode="json", by_alias=True))

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what ``write`` returns."""
        return _schema(self._form)


def _marks(form: Form) -> dict[str, Any]:
    marks: dict[str, Any] = cast("dict[str, Any]", form).get("metadata", {})
    return marks


def _mark(form: Form, **marks: object) -> Form:
    return cast("Form", {**form, "metadata": {**_marks(form), **marks}})


def described(form: Form, description: str = "", /, **keywords: object) -> Form:
    """Return the form with a description and other keywords in the published schema; reading does not check them."""
    text = {"description": description} if description else {}
    return _mark(form, json={**_marks(form).get("json", {}), **keywords, **text})


def defined(name: str, form: Form) -> Form:
    """Return the form that the published schema has once, in ``$defs``, under this name."""
    return _mark(form, definition=name)


def called(name: str, form: Form) -> Form:
    """Return the form of a member whose name is not that of its attribute in camel case."""
    return _mark(form, name=name)


def omitted(form: Form) -> Form:
    """Return the form of a member that is not written if the attribute has its default."""
    return _mark(form, omitted=True)


def lenient(form: Form) -> Form:
    """Return the form of a member that is always written and need not be there when read."""
    return _mark(form, lenient=True)


def written_only(form: Form) -> Form:
    """Return the form of a member that is not read."""
    return _mark(form, written_only=True)


def or_null(form: Form) -> Form:
    """Return the form of a value that may be null."""
    return core.nullable_schema(form)


def list_of(form: Form) -> Form:
    """Return the form of a list, a tuple in Python."""
    return core.tuple_schema([form], variadic_item_index=0)


def reworded(form: Form, sentence: str) -> Form:
    """Return the form with one sentence for all that can be wrong inside."""
    return core.custom_error_schema(form, "reworded", custom_error_message=sentence)


def converted(form: Form, read: Callable[[Any], object], write: Callable[[Any], object]) -> Form:
    """Return the form of a value that is another form's in JSON. ``read`` raises ``ValueError``."""
    written = core.plain_serializer_function_ser_schema(write)
    return core.no_info_after_validator_function(read, form, serialization=written)


def shared(form: Form) -> Form:
    """Return the form of strings of which equal ones are kept once in memory."""
    return core.no_info_after_validator_function(sys.intern, form)


def parsed(parse: Callable[[str], object]) -> Form:
    """Return the form of a string that ``parse`` turns into a value, and ``str`` turns back."""
    return core.no_info_after_validator_function(parse, TEXT, serialization=core.to_string_ser_schema())


def choice(names: type[Enum]) -> Form:
    """Return the form of a member of an enum of strings."""
    return described(parsed(names), enum=[name.value for name in names])


def version(number: str, *, minor: bool = False) -> Form:
    """Return the form of ``formatVersion``: this one, or with ``minor`` each of the same major version."""
    major = number.partition(".")[0]

    def check(text: str) -> str:
        if text != number and not (minor and text.startswith(f"{major}.")):
            raise PydanticCustomError("version", f"its format is {text}; this version reads {number}")
        return text

    return described(core.no_info_after_validator_function(check, TEXT), pattern=rf"^{major}\.[0-9]+$")


ANY = core.any_schema()
TEXT = core.str_schema()
FLAG = core.bool_schema(strict=True)
TRUE = described(FLAG, const=True)
WHOLE = core.int_schema(strict=True)
COUNT = core.int_schema(strict=True, ge=0)
NUMBER = reworded(core.float_schema(strict=True, ge=0), "is not a number")
SECONDS = converted(NUMBER, float, lambda seconds: round(seconds, 3))
TEXTS = reworded(list_of(TEXT), "is not a list of strings")
_SORTED = core.plain_serializer_function_ser_schema(lambda texts: dict(sorted(texts.items())))
TEXT_MAP = reworded(core.dict_schema(TEXT, TEXT, serialization=_SORTED), "is not an object of strings")
TEXT_OR_NULL = converted(or_null(TEXT), lambda text: text or "", lambda text: text or None)
"""Null is the empty string in Python."""


def _name(attribute: str, form: Form) -> str:
    first, *rest = attribute.split("_")
    return str(_marks(form).get("name", first + "".join(map(str.capitalize, rest))))


def object_of(**members: Form) -> Form:
    """Return the form of an object that is a dict in Python too, with the same keys as in JSON."""

    def member(form: Form) -> core.TypedDictField:
        marks = _marks(form)
        required = not marks.keys() & {"omitted", "lenient"}
        return core.typed_dict_field(form, required=required, metadata={"optional": "omitted" in marks})

    return core.typed_dict_schema({_name(key, form): member(form) for key, form in members.items()})


def record(cls: type[Any], /, **members: Form) -> Form:
    """Return the form of a named tuple; ``members`` are by attribute, in the order in which they are written.

    A member that is a property is only written. An attribute without a member has its default when read.
    """
    defaults = cls._field_defaults
    read = {
        attribute: core.typed_dict_field(
            form, required=not _marks(form).keys() & {"omitted", "lenient"}, validation_alias=_name(attribute, form)
        )
        for attribute, form in members.items()
        if attribute in cls._fields and "written_only" not in _marks(form)
    }
    shown = {_name(attribute, form): _shown_field(form, defaults.get(attribute)) for attribute, form in members.items()}
    values = attrgetter(*members)  # of two at least: of one it would return no tuple

    def write(value: Any) -> dict[str, Any]:
        return dict(zip(shown, values(value), strict=True))

    written = core.plain_serializer_function_ser_schema(write, return_schema=core.typed_dict_schema(shown))
    return core.no_info_after_validator_function(
        lambda found: cls(**found), core.typed_dict_schema(read), serialization=written
    )


def _shown_field(form: Form, default: object) -> core.TypedDictField:
    omitted = "omitted" in _marks(form)
    return core.typed_dict_field(
        form,
        serialization_exclude_if=(lambda value: value == default) if omitted else None,
        metadata={"optional": omitted},
    )


def _schema(form: Form) -> dict[str, Any]:
    from pydantic.json_schema import CoreRef, GenerateJsonSchema  # noqa: PLC0415 - only the verb schema needs it

    class SchemaOfForms(GenerateJsonSchema):
        """Adds the marks of forms, and leaves out what is made from Python: titles, docstrings, defaults."""

        def generate_inner(self, schema: Any) -> dict[str, Any]:
            marks = schema.get("metadata", {})
            made = {**super().generate_inner(schema), **marks.get("json", {})}
            if "definition" not in marks:
                return made
            key, reference = self.get_cache_defs_ref_schema(CoreRef(marks["definition"]))
            self.definitions[key] = made
            return reference

        def default_schema(self, schema: core.WithDefaultSchema) -> dict[str, Any]:
            return self.generate_inner(schema["schema"])

        def field_title_should_be_set(self, schema: Any) -> bool:
            return "title" in schema

        def field_is_required(self, field: Any, total: bool) -> bool:
            return total and not field["metadata"]["optional"]

    return SchemaOfForms().generate(form, mode="serialization")


class JsonStream:
    """A JSON document whose text comes in parts of any size, read a member of an object or an item of a list at a time.

    A value that is not read in parts is decoded whole, as ``json.loads`` does. Malformed text raises ``JsonError``, a key
    that an object has twice ``DuplicateKey``.
    """

    def __init__(self, parts: Iterable[str]) -> None:
        self._parts = iter(parts)
        self._text, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1  # of the start of _text
        self._decode = json.JSONDecoder(object_pairs_hook=_unique).raw_decode

    def peek(self) -> str:
        """Return the next character that is not white space, or an empty string at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """Return the next value, decoded."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except DuplicateKey as error:
                raise self._duplicate(error) from None
            except json.JSONDecodeError as error:
                # The text may end inside the value. Otherwise there is nothing to wait for.
                cut = error.pos > len(self._text) - _MAX_TOKEN or error.msg.startswith("Unterminated string")
                if not (cut and self._more()):
                    raise self._malformed(error.msg, error.pos) from None
                continue
            if end + len("e+") < len(self._text) or not self._more():  # a number may continue in the next part
                self._at = end
                return value

    def members(self) -> Iterator[str]:
        """Yield the name of each member of the object that comes next; its value is read before the next name."""
        names: set[str] = set()
        for _ in self._each("{", "}", "Expecting property name enclosed in double quotes"):
            if self.peek() != '"':
                raise self._malformed("Expecting property name enclosed in double quotes", self._at)
            name = self.value()
            if name in names:
                raise self._duplicate(DuplicateKey(name))
            names.add(name)
            self._take(":")
            yield name

    def items(self) -> Iterator[int]:
        """Yield the index of each item of the list that comes next; the item is read before the next index."""
        return self._each("[", "]", "Expecting value")

    def end(self) -> None:
        """Raise ``JsonError`` if anything but white space is left."""
        if self.peek():
            raise self._malformed("Extra data", self._at)

    def _each(self, begin: str, end: str, expected: str) -> Iterator[int]:
        self._take(begin)
        if self.peek() == end:
            self._at += 1
            return
        for index in count():
            yield index
            if self.peek() == end:
                self._at += 1
                return
            self._take(",")
            if self.peek() == end:
                raise self._malformed(expected, self._at)

    def _take(self, char: str) -> None:
        if self.peek() != char:
            raise self._malformed(f"Expecting {char!r} delimiter", self._at)
        self._at += 1

    def _more(self) -> bool:
        """Append the next part, or as much as is left unread, so that a long value is decoded few times; drop what was read."""
        needed = len(self._text) - self._at
        read: list[str] = []
        while not self._ended and sum(len(part) for part in read) <= needed:
            part = next(self._parts, None)
            self._ended = part is None
            read.append(part or "")
        if not any(read):
            return False
        self._line, self._column = self._position(self._at)
        self._text, self._at = self._text[self._at :] + "".join(read), 0
        return True

    def _position(self, at: int) -> tuple[int, int]:
        lines = self._text.count("\n", 0, at)
        return (self._line + lines, at - self._text.rfind("\n", 0, at)) if lines else (self._line, self._column + at)

    def _duplicate(self, error: DuplicateKey) -> DuplicateKey:
        line, column = self._position(self._at)
        return DuplicateKey(f"duplicate key {json.dumps(str(error))} (line {line}, column {column})")

    def _malformed(self, what: str, at: int) -> JsonError:
        line, column = self._position(at)
        return JsonError(f"{what} (line {line}, column {column})")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these members. Raises ``DuplicateKey`` with a name that is there twice."""
    found = dict(members)
    if len(found) != len(members):
        counts = Counter(name for name, _ in members)
        raise DuplicateKey(next(name for name, count in counts.items() if count > 1))
    return found
