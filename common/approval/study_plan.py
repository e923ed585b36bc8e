"""The plan of a study as a site approves it: what is trained, by which code, with whom, and what may leave.

One file holds plan and signature: `{"plan": {…}, "signature": "…"}`. The signature is over the plan's canonical JSON.
It is another thing than `common.plan.Plan`, which is what the sites' inventories turned a study into.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator

from common.errors import PolicyError, StudyError
from common.identity.signing import Purpose, SigningKey, VerifyKey
from common.records import DTYPES, METRIC_NAME, Declared, Digest
from common.roster_file import Roster
from common.settings.frozen import Frozen
from common.settings.privacy import Privacy
from common.settings.secure_aggregation import SecureAggregation
from common.settings.stages import Stage
from common.study import MAX_STUDY_BYTES, Study, parse_study

MAX_PLAN_BYTES = 4 * 1024 * 1024
RESUME = "resume"
"""The one key of a run configuration that no plan binds: a run may be gone on with."""

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:+/-]{1,256}$")]
Size = Annotated[int, Field(ge=0, le=2**40)]
Form = tuple[Word, Annotated[tuple[Size, ...], Field(max_length=8)]]
"""Type and shape of a tensor, such as `("float32", (64, 3))`."""

Forms = Annotated[dict[Word, Form], Field(max_length=100_000)]
STEERING = r"\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
"""Characters by which a text could make a terminal show other words than its own."""

Setting = Annotated[str, StringConstraints(max_length=4096, pattern=rf"^[^{STEERING}]*$")] | bool


@dataclass(frozen=True)
class Leaving:
    """What an approved plan lets out of one stage: tensors by group, and names of numbers."""

    groups: Mapping[str, Mapping[str, Form]]
    metrics: frozenset[str]

    def uncovered(self, group: str, tensors: Mapping[str, Declared]) -> tuple[str, ...]:
        """Return the names of those `tensors` that may not leave under `group` with the type and shape they have."""
        planned = self.groups.get(group, {})
        return tuple(
            name for name, form in sorted(tensors.items()) if planned.get(name) != (form.dtype, tuple(form.shape))
        )


class WrongPlanError(PolicyError):
    """A study plan contradicts itself: its parts are not those of its study."""

    code = "wrong-plan"


class StudyPlan(Frozen):
    """Everything that a site's approval covers.

    Attributes:
        study_text: the study.toml, word for word.
        study_digest: of that study and `code_version`.
        bundle_sha256: digest of the code that the coordinator ships, None where it ships none.
        roster: who takes part, with which keys; an approving site pins them.
        run_config: with which configuration the coordinator submits the run, but for `resume`.
        outgoing: the tensors that may leave by stage and group, each with type and shape.
        metrics: the names of the numbers that may leave with an update.
        findings: the names of the sums, histograms and moments that may leave with an assessment.
        privacy, secure_aggregation: the study's, for whoever does not read the text.
        created: when the coordinator wrote it.
    """

    schema_version: Literal[1] = 1
    study_text: Annotated[str, StringConstraints(max_length=MAX_STUDY_BYTES)]
    study_digest: Digest
    code_version: Word
    bundle_sha256: Digest | None = None
    roster: Roster
    run_config: Annotated[dict[Word, Setting], Field(max_length=32)] = Field(default_factory=dict)
    outgoing: dict[Stage, Annotated[dict[Word, Forms], Field(max_length=20_000)]]
    metrics: Annotated[tuple[str, ...], Field(max_length=256)]
    findings: Annotated[tuple[Word, ...], Field(max_length=100_000)] = ()
    privacy: Privacy
    secure_aggregation: SecureAggregation
    created: date

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in metrics if not METRIC_NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r:.80} is no name of a metric")
        return metrics

    @field_validator("outgoing")
    @classmethod
    def _check_types(cls, outgoing: dict[Stage, dict[str, Forms]]) -> dict[Stage, dict[str, Forms]]:
        forms = (form for groups in outgoing.values() for tensors in groups.values() for form in tensors.values())
        if wrong := sorted({dtype for dtype, _ in forms} - set(DTYPES)):
            raise ValueError(f"{wrong[0]!r:.80} is no type of a tensor")
        return outgoing

    @cached_property
    def study(self) -> Study:
        """The study, parsed. Raises StudyError where this version of the code cannot read it."""
        return parse_study(self.study_text, "the plan's study")

    @property
    def canonical(self) -> bytes:
        """The plan as JSON with sorted keys: what is hashed and signed."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical plan: its name."""
        return hashlib.sha256(self.canonical).hexdigest()

    def fits_run(self, run_config: Mapping[str, object]) -> bool:
        """Say whether a run of this configuration is the one that was planned; or goes on with it."""
        planned = {key: value for key, value in self.run_config.items() if key != RESUME}
        given = {key: value for key, value in run_config.items() if key != RESUME}
        return planned == given and isinstance(run_config.get(RESUME, False), bool)

    def leaving(self, stage: Stage) -> Leaving:
        """Return what may leave with an update of `stage`."""
        return Leaving(self.outgoing.get(stage, {}), frozenset(self.metrics))


class SignedPlan(Frozen):
    """The file: a plan and the consortium's signature over it."""

    plan: StudyPlan
    signature: Annotated[str, StringConstraints(max_length=256)]

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        return f"{self.model_dump_json()}\n".encode()


def write_plan(plan: StudyPlan, key: SigningKey) -> bytes:
    """Return the signed file. Raises StudyError where the plan is too large to be sent, WrongPlanError where wrong."""
    _check(plan)
    blob = SignedPlan(plan=plan, signature=key.sign(Purpose.PLAN, plan.canonical)).to_bytes()
    if len(blob) > MAX_PLAN_BYTES:
        raise StudyError(f"the plan has {len(blob)} bytes, more than {MAX_PLAN_BYTES}; name fewer sites or sequences")
    return blob


def read_plan(blob: bytes, pinned: VerifyKey, origin: str = "plan") -> StudyPlan:
    """Parse a signed plan strictly; nothing of it is believed that the consortium's key did not sign.

    Raises:
        StudyError: where it is no plan, or the study in it is one that this version cannot read.
        SignatureError: where it is not signed by the pinned key.
        WrongPlanError: where its parts contradict its study.
    """
    return read_signed_plan(blob, pinned, origin).plan


def read_signed_plan(blob: bytes, pinned: VerifyKey, origin: str = "plan") -> SignedPlan:
    """Do as `read_plan` and keep the signature."""
    signed = parse_signed_plan(blob, origin)
    pinned.verify(Purpose.PLAN, signed.plan.canonical, signed.signature)
    _check(signed.plan)
    return signed


def parse_signed_plan(blob: bytes, origin: str = "plan") -> SignedPlan:
    """Parse a signed plan without asking who signed it. Raises StudyError."""
    if len(blob) > MAX_PLAN_BYTES:
        raise StudyError(f"{origin}: larger than {MAX_PLAN_BYTES} bytes, so it is no plan")
    try:
        return SignedPlan.model_validate_json(blob, strict=True)
    except ValidationError as error:
        found = [f"{origin}: {'.'.join(map(str, item['loc']))[:80]}: {item['msg']}" for item in error.errors()[:10]]
        raise StudyError("\n".join([*found, "ask the coordinator for the plan's file again"])) from None


def _check(plan: StudyPlan) -> None:
    """Refuse a plan whose parts are not those of its study. Raises WrongPlanError, listing all that is wrong."""
    study, wrong = plan.study, []
    if (plan.privacy, plan.secure_aggregation) != (study.privacy, study.secure_aggregation):
        wrong.append("privacy or secure aggregation are not the study's")
    if strange := sorted(set(plan.outgoing) - set(study.stages.present)):
        wrong.append(f"tensors of {', '.join(strange)}, which the study does not train")
    if missing := sorted(set(study.sites) - set(plan.roster.sites)):
        wrong.append(f"the roster lacks {', '.join(missing)}")
    if wrong:
        raise WrongPlanError(f"the plan of study {study.name!r} is wrong: {'; '.join(wrong)}; do not approve it")
