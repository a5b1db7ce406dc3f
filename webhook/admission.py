"""From the bytes of an AdmissionReview to the bytes of its answer (admission.k8s.io/v1).

decode (checked; the Pod stays a dict) -> decide -> mutate -> diff -> answer.

Only the slice of the Pod that pod.py describes is decoded, but for init containers of dinp's own,
which are made anew (renewal.py): of these all. The patch comes out the same as for
the whole Pod, because the edits move and copy nothing that the slice has not in full.
"""

from __future__ import annotations

import base64
from typing import Any, Generic, Literal, TypedDict, TypeVar, cast

import msgspec

from webhook import __version__, names
from webhook.asking import config as configs
from webhook.asking import rules
from webhook.asking.config import Config
from webhook.asking.rules import Rule
from webhook.mutation import mutate
from webhook.planning import plan
from webhook.planning.plan import Action, Plan
from webhook.pods import patch
from webhook.pods import pod as pods
from webhook.pods.patch import Operation
from webhook.pods.pod import Container, Pod
from webhook.reasons import Finding, Reason

OutcomeName = Literal["mutated", "unchanged", "denied"]

# A Warning header is cut at 256 bytes by the API server, and all of them together at 4 KiB
# (apiserver's warning filter, Kubernetes 1.34): longer ones would be cut in mid-sentence.
_WARNING_BYTES = 256
# A denial may quote an annotation, and that may have 256 KiB.
_MESSAGE_BYTES = 4096


class ReviewError(Exception):
    """The request is no AdmissionReview of a Pod: HTTP 400. The message says where."""


class GroupVersionKind(msgspec.Struct, frozen=True):
    """As in meta/v1."""

    group: str
    version: str
    kind: str


Object = TypeVar("Object")


class AdmissionRequest(msgspec.Struct, Generic[Object], frozen=True, rename="camel"):
    """The fields of an admission.k8s.io/v1 request that dinp reads."""

    uid: str
    kind: GroupVersionKind
    operation: str = "CREATE"
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    object: Object | None = None


class AdmissionReview(msgspec.Struct, Generic[Object], frozen=True, rename="camel"):
    """The envelope."""

    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: AdmissionRequest[Object]


class _WholeSpec(TypedDict, total=False):
    initContainers: list[dict[str, Any]] | None


class _WholePod(TypedDict):
    spec: _WholeSpec


class Injection(msgspec.Struct, frozen=True):
    """What dinp does with one Pod, whoever asked: the API server or the command line."""

    pod: Pod  # the same object if nothing changes
    operations: list[Operation]
    outcome: OutcomeName
    mode: str | None
    finding: Finding
    warnings: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True):
    """The answer to one AdmissionReview, and what operators want to know of it."""

    body: bytes  # the AdmissionReview response, JSON
    uid: str
    namespace: str
    name: str
    owner: str | None  # Kind/name
    rule: Rule
    mode: str | None
    outcome: OutcomeName
    reason: Reason
    operations: int


_decoder = msgspec.json.Decoder(AdmissionReview[Pod])
_own_decoder = msgspec.json.Decoder(AdmissionReview[_WholePod])
_whatever_decoder = msgspec.json.Decoder(AdmissionReview[dict[str, Any]])
_encoder = msgspec.json.Encoder()


def inject(pod: dict[str, Any], rule: Rule, config: Config) -> Injection:
    """Decide on one Pod and carry it out."""
    return _inject(cast("Pod", pod), pods.problem(pod), rule, config)


def _inject(pod: Pod, problem: str | None, rule: Rule, config: Config) -> Injection:
    if problem is not None:
        return _unchanged(pod, Reason.INVALID_POD.say(problem=problem))
    decided = plan.decide(pod, rule, config)
    new = mutate(pod, decided)
    operations = patch.diff(pod, new)
    finding = decided.finding
    if decided.action is Action.INJECT and not operations:
        finding = Reason.ALREADY_DONE.say()
    return Injection(
        pod=new if operations else pod,
        operations=operations,
        outcome=_outcome(decided, operations),
        mode=None if decided.mode is None else decided.mode.value,
        finding=finding,
        warnings=tuple(warning.text for warning in decided.warnings),
    )


def _outcome(decided: Plan, operations: list[Operation]) -> OutcomeName:
    if decided.action is Action.DENY:
        return "denied"
    return "mutated" if operations else "unchanged"


def _unchanged(pod: Pod, finding: Finding) -> Injection:
    return Injection(pod, [], "unchanged", None, finding, ())


def review(body: bytes | bytearray, rule: Rule, config: Config) -> Outcome:
    """Answer one AdmissionReview.

    Raises:
        ReviewError: `body` is no AdmissionReview v1 of a v1 Pod; the message names the place.
    """
    try:
        return _reviewed(body, rule, config)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        # In a field that is not of a Pod's types, or that a first decoding has left out: the API
        # server would not have sent it.
        raise ReviewError(f"not an AdmissionReview of admission.k8s.io/v1: {error}") from error


def _reviewed(body: bytes | bytearray, rule: Rule, config: Config) -> Outcome:
    request, pod, problem = _decode(body)
    if request.operation != "CREATE" or request.sub_resource:
        result = _unchanged(pod, Reason.OTHER_OPERATION.say())
    else:
        result = _inject(pod, problem, rule, configs.of_namespace(config, request.namespace))
    return Outcome(
        body=_answer(request.uid, rule, result),
        uid=request.uid,
        namespace=request.namespace,
        name=_name(request, pod),
        owner=_owner(pod),
        rule=rule,
        mode=result.mode,
        outcome=result.outcome,
        reason=result.finding.reason,
        operations=len(result.operations),
    )


def _decode(body: bytes | bytearray) -> tuple[AdmissionRequest[Any], Pod, str | None]:
    """The request, its Pod, and what is wrong with that, as `pods.problem` says it.

    A Pod that is not well formed is decoded once more, as whatever it is, for the log.
    """
    try:
        try:
            request: AdmissionRequest[Any] = _decoder.decode(body).request
            problem = pods.problem_of_valid
        except msgspec.ValidationError:
            request, problem = _whatever_decoder.decode(body).request, pods.problem
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ReviewError(f"not an AdmissionReview of admission.k8s.io/v1: {error}") from error
    kind = request.kind
    if (kind.group, kind.version, kind.kind) != ("", "v1", "Pod"):
        what = "/".join(part for part in (kind.group, kind.version, kind.kind) if part)
        raise ReviewError(f"expected v1/Pod, got {what} - at `$.request.kind`")
    pod = request.object
    if pod is None:
        raise ReviewError("expected a Pod, got null - at `$.request.object`")
    if pod.get("kind", "Pod") != "Pod" or pod.get("apiVersion", "v1") != "v1":
        raise ReviewError("expected a v1 Pod - at `$.request.object.kind`")
    said = problem(pod)
    return request, (pod if said is not None else _with_whole_own(pod, body)), said


def _with_whole_own(pod: Pod, body: bytes | bytearray) -> Pod:
    """The Pod with all fields of dinp's own containers: they are made anew, whatever they hold."""
    there = pod["spec"].get("initContainers") or []
    if not any(names.is_dinps_container(container["name"]) for container in there):
        return pod
    whole = _own_decoder.decode(body).request.object
    read = (whole and whole["spec"].get("initContainers")) or []
    both = zip(there, cast("list[Container]", read), strict=True)
    mixed = [all_ if names.is_dinps_container(one["name"]) else one for one, all_ in both]
    return {**pod, "spec": {**pod["spec"], "initContainers": mixed}}


def _name(request: AdmissionRequest[Any], pod: Pod) -> str:
    metadata = pod.get("metadata")
    if request.name or not isinstance(metadata, dict):
        return request.name
    return str(metadata.get("name") or f"{metadata.get('generateName') or ''}*")


def _owner(pod: Pod) -> str | None:
    metadata = pod.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    if not isinstance(owners, list) or not owners or not isinstance(owners[0], dict):
        return None
    return f"{owners[0].get('kind')}/{owners[0].get('name')}"


def _answer(uid: str, rule: Rule, result: Injection) -> bytes:
    response: dict[str, Any] = {"uid": uid, "allowed": result.outcome != "denied"}
    if result.outcome == "denied":
        # With a status code of its own: without one the API server answers 400, which some
        # controllers retry for ever (apiserver's ToStatusErr, Kubernetes 1.34).
        response["status"] = {
            "code": 403,
            "reason": "Forbidden",
            "message": _denial(result.finding),
        }
    if result.operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(_encoder.encode(result.operations)).decode("ascii")
    if result.warnings:
        response["warnings"] = [
            _shortened(f"dinp: {warning}", _WARNING_BYTES) for warning in result.warnings
        ]
    response["auditAnnotations"] = {
        "rule": rules.path(rule).removeprefix("/pods/"),
        "outcome": result.outcome,
        "reason": result.finding.reason.value,
        "version": __version__,
        **({"mode": result.mode} if result.mode else {}),
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return _encoder.encode(review)


def _denial(finding: Finding) -> str:
    """The sentence, as far as there is room, and the whole code of its reason."""
    code = f" {finding.reason.code}"
    return _shortened(f"dinp: {finding.text}", _MESSAGE_BYTES - len(code)) + code


def _shortened(text: str, limit: int) -> str:
    """At most `limit` bytes, printable: the API server drops a warning with control characters.

    The whole sentence stands in dinp.io/status.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode(errors="ignore") + "…"
