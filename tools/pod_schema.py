"""The strict schema of Kubernetes for Pods, read once a process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import kubernetes_validate
from kubernetes_validate import utils

KUBERNETES: Final = "1.34"

# validate() reads its files at each call: more than a megabyte of JSON, nine tenths of its time.
utils.schema_contents = cache(utils.schema_contents)


def validate(pod: Mapping[str, Any]) -> None:
    """Hold a Pod against the strict schema.

    Raises:
        kubernetes_validate.ValidationError: names the field.
    """
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def is_valid(pod: Mapping[str, Any]) -> bool:
    """Whether the strict schema accepts it."""
    try:
        validate(pod)
    except kubernetes_validate.ValidationError:
        return False
    return True
