"""What msgspec says of the config file, with what it leaves out: the values and keys that there are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import inspect

_WHERE: Final = re.compile(r" - at (`key` in )?`(\$[^`]*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[[^]]*\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]*)`")
_NO_TEXT: Final = re.compile(r"Expected `str`, got `(int|float|bool)`")


def explained(message: str, file: type) -> str:
    """The message with its cure; `file` is the Struct of the whole file.

    | message | what is added |
    |---|---|
    | Invalid enum value 'in' | ; expected DoesNotExist, Exists, In or NotIn |
    | Object contains unknown field `imagee` | ; did you mean `image`? |
    | Expected `str`, got `int` | ; put it in quotes |
    """
    where = _WHERE.search(message)
    types = list(_types_at(where[2] if where else "$", file))
    if where and where[1]:
        types = list(_members(one.key_type for one in types if isinstance(one, inspect.DictType)))
    return f"{message}{_cure(message, types)}"


def _cure(message: str, types: Sequence[inspect.Type]) -> str:
    if message.startswith("Invalid enum value"):
        values = [str(value) for one in types for value in _values(one)]
        if any(isinstance(one, inspect.DictType) for one in types):
            values.append("an object")
        return f"; expected {' or '.join(filter(None, (', '.join(values[:-1]), *values[-1:])))}"
    if unknown := _UNKNOWN.match(message):
        structs = (one for one in types if isinstance(one, inspect.StructType))
        known = [field.encode_name for one in structs for field in one.fields]
        close = difflib.get_close_matches(unknown[1], known, n=1)
        return f"; did you mean `{close[0]}`?" if close else ""
    return "; put it in quotes" if _NO_TEXT.match(message) else ""


def _types_at(path: str, file: type) -> Iterator[inspect.Type]:
    """The types that may stand at a path such as `$.neverInject[0].name`."""
    types = _members([inspect.type_info(file)])
    for step in _STEP.finditer(path):
        types = _members([inside for one in types for inside in _inside(one, step[1])])
    return types


def _inside(one: inspect.Type, key: str | None) -> Iterator[inspect.Type]:
    if isinstance(one, inspect.StructType):
        yield from (field.type for field in one.fields if field.encode_name == key)
    elif isinstance(one, inspect.VarTupleType):
        yield one.item_type
    elif isinstance(one, inspect.DictType):
        yield one.value_type


def _members(types: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    for one in types:
        yield from one.types if isinstance(one, inspect.UnionType) else (one,)


def _values(one: inspect.Type) -> tuple[object, ...]:
    return one.values if isinstance(one, inspect.LiteralType) else ()
