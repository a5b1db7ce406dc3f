"""From the bytes of an AdmissionReview to the bytes of its answer (admission.k8s.io/v1)."""

from __future__ import annotations

from dataclasses import dataclass

from webhook.config import Config
from webhook.reasons import Reason
from webhook.rules import Rule


class ReviewError(Exception):
    """The request is no AdmissionReview of a Pod: HTTP 400. The message says where."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one AdmissionReview, and what operators want to know of it."""

    body: bytes  # the AdmissionReview response, JSON
    uid: str
    namespace: str
    name: str
    owner: str | None  # Kind/name
    rule: Rule
    mode: str | None
    outcome: str  # mutated, unchanged or denied
    reason: Reason
    operations: int


def review(body: bytes, rule: Rule, config: Config) -> Outcome:
    raise NotImplementedError
