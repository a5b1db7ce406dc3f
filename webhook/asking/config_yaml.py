"""The YAML of the config file: plain values, and no key twice in a mapping."""

from __future__ import annotations

from typing import Any, Final

import yaml

# PyYAML raises more than its own errors, for values such as 2026-99-99 and !!bool x.
_NO_YAML: Final = (
    *(yaml.YAMLError, ValueError, KeyError, AttributeError, IndexError),
    RecursionError,
)


class _Loader(yaml.SafeLoader):
    """PyYAML lets the last of two keys count, and says nothing: half a file would be lost."""

    # Not where mappings are made: by then keys of `<<` stand beside those that take their place.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"found key {key.value!r} twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node


def load(text: bytes) -> Any:
    """The document in `text`; None where it is empty.

    Raises:
        ValueError: not YAML, or a key twice; the message is one line that says where.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except _NO_YAML as error:
        message = " ".join(str(error).split())
        raise ValueError(f"not valid YAML: {message}") from error
