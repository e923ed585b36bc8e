"""A release: the frozen global models of a study with their lineage, every byte of it covered by a digest.

A folder holds `release.json`, one `<stage>.safetensors` a stage, and `assessment.json` where the sites judged it.
`release.json` is canonical JSON, names the SHA-256 of every other file, and closes with the digest of all that it says;
so one flipped byte anywhere is found.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from common.assessment.dossier import DOSSIER, Dossier, parse_dossier
from common.errors import ReleaseError
from common.plan import Plan
from common.sequences import Domain, Sequence
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from common.spent import Spent
from common.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

    from common.metrics.platt import PlattCurve

MANIFEST = "release.json"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Lineage(Frozen):
    """Where a stage's weights come from.

    Attributes:
        run: the run's identifier.
        rounds: rounds played.
        sites: site → the most patients it trained on in a round.
        groups: parameter group → the sites that trained it in some round; a group that is not named kept its initial
            weights and must not be used.
    """

    run: str
    rounds: Annotated[int, Field(ge=1)]
    sites: dict[str, int]
    groups: dict[str, tuple[str, ...]]


class StageFile(Frozen):
    """One stage's weights: file name, its SHA-256, and its lineage."""

    file: Annotated[str, StringConstraints(pattern=r"^[a-z]+\.safetensors$")]
    sha256: Digest
    lineage: Lineage


class GreyConstants(Frozen):
    """The median grey constants of one sequence and the site whose medians they are; they undo a normalisation."""

    site: str
    constants: dict[str, float]


class Calibration(Frozen):
    """Platt's curve of the identifier's score: see `common.metrics.platt`."""

    slope: float
    intercept: float


class IdentifierFacts(Frozen):
    """How the BBB status is decided.

    Attributes:
        slice_threshold, volume_threshold: lambda_c and lambda_r.
        fitted: whether these were fitted on validation patients; else they are the study's.
        note: how they were found, or why they could not be fitted.
        validation: site → validation patients behind the fit.
        f1: what the thresholds reach on those patients; None unless fitted.
        calibration: from score to probability; None unless one could be fitted.
        abstain_margin: distance from one half below which a probability decides nothing.
        contrastive: whether the identifier judges hypotheses (CBSI), or classifies the status itself.
    """

    slice_threshold: float
    volume_threshold: float
    fitted: bool = False
    note: str = "the study's own, no patients were kept for validation"
    validation: dict[str, int] = Field(default_factory=dict)
    f1: float | None = None
    calibration: Calibration | None = None
    abstain_margin: float = 0.0
    contrastive: bool = True

    @property
    def curve(self) -> PlattCurve | None:
        """The calibration as a function of the score."""
        from common.metrics.platt import PlattCurve

        return None if self.calibration is None else PlattCurve(self.calibration.slope, self.calibration.intercept)


class StagePrivacy(Frozen):
    """What a privately trained stage has cost: by site, as each said with the last update that counted.

    It holds for one patient of the site, and for the site's updates; docs/concepts/privacy.md says what is outside.
    """

    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    sites: dict[str, Spent]


class Manifest(Frozen):
    """All that `release.json` says, its own digest aside.

    `assessment` is the SHA-256 of `assessment.json`, None where the sites did not judge the release.
    """

    schema_version: Literal[1] = 1
    study: Study
    study_digest: Digest
    plan: Plan
    code_version: str
    stages: dict[Stage, StageFile]
    greys: dict[Sequence, GreyConstants]
    identifier: IdentifierFacts | None
    assessment: Digest | None = None
    privacy: dict[Stage, StagePrivacy] = Field(default_factory=dict)
    research_use_only: Literal[True] = True

    def to_bytes(self) -> bytes:
        """Return the one byte sequence that `release.json` may hold."""
        tree = self.model_dump(mode="json")
        return _bytes_of({**tree, "digest": _digest_of(tree)})


@dataclass(frozen=True)
class Release:
    """A verified release.

    Attributes:
        path: its folder.
        manifest: what `release.json` says.
        digest: the release's digest, SHA-256 of the manifest's canonical JSON as it was written, 64 hex digits. What a
            later version knows besides has no part in it, so that a release outlives an upgrade.
    """

    path: Path
    manifest: Manifest
    digest: str

    @property
    def short(self) -> str:
        """The first 12 hex digits of the digest: what every synthetic file carries."""
        return self.digest[:12]

    @property
    def study(self) -> Study:
        """The study that was trained."""
        return self.manifest.study

    @property
    def greys(self) -> dict[Sequence, GreyConstants]:
        """Median grey constants per sequence, of the reference site where it holds the sequence."""
        return self.manifest.greys

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The generator's domains, lesion twins included."""
        return self.manifest.plan.domains(self.study)

    @property
    def trained_domains(self) -> tuple[Domain, ...]:
        """The generator's domains, twins included, whose own tensors some site trained; the others are not used."""
        from common.parameters import DOMAIN_PREFIX

        groups = self.manifest.stages[Stage.GENERATOR].lineage.groups
        return tuple(domain for domain in self.domains if DOMAIN_PREFIX + domain.key in groups)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the release holds, in order."""
        return tuple(stage for stage in Stage if stage in self.manifest.stages)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the release's digest covers."""
        assessment = () if self.manifest.assessment is None else (DOSSIER,)
        return (MANIFEST, *(entry.file for entry in self.manifest.stages.values()), *assessment)

    def assessment(self) -> Dossier | None:
        """Return what the sites say of the release, None where they were not asked.

        Raises:
            ReleaseError: where the file is missing, was changed, or is of another version.
        """
        if self.manifest.assessment is None:
            return None
        path = self.path / DOSSIER
        return parse_dossier(_read_verified(path, self.manifest.assessment), str(path))

    def tensors(self, stage: Stage) -> dict[str, Tensor]:
        """Return the weights of `stage`. Raises ReleaseError where the release has none, or the file was changed."""
        from safetensors.torch import load

        entry = self.manifest.stages.get(stage)
        if entry is None:
            raise ReleaseError(f"{self.path}: holds no {stage} stage; train a study with [stages.{stage}]")
        return load(_read_verified(self.path / entry.file, entry.sha256))

    def model(self, stage: Stage) -> nn.Module:
        """Return the network of `stage` with the released weights, in evaluation mode, no gradients.

        Raises:
            ReleaseError: where the stage is missing or its weights do not fit this version's networks.
        """
        from common.nets.stage_models import build_model
        from common.seeding import torch_generator

        tensors = self.tensors(stage)
        model = build_model(stage, self.study, self.domains, torch_generator(self.study.seed, "initial", stage.value))
        try:
            model.load_state_dict(tensors)
        except RuntimeError:
            raise ReleaseError(
                f"{self.path}: the {stage} weights do not fit the networks of this version; "
                f"use GlioFed {self.manifest.code_version.split('+')[0]}"
            ) from None
        return model.eval().requires_grad_(False)


def load_release(path: Path) -> Release:
    """Open a release and verify every digest in it.

    Args:
        path: the folder that holds `release.json`, or the run's folder above it.
    Raises:
        ReleaseError: where something is missing or any byte was changed.
    """
    release = read_release(path)
    for entry in release.manifest.stages.values():
        _verify(release.path / entry.file, entry.sha256)
    if release.manifest.assessment is not None:
        _verify(release.path / DOSSIER, release.manifest.assessment)
    return release


def read_release(path: Path) -> Release:
    """Open a release, and verify what `release.json` says of itself; a file is verified when it is read.

    Raises:
        ReleaseError: where `release.json` is missing or was changed.
    """
    if not (path / MANIFEST).is_file() and (path / "release" / MANIFEST).is_file():
        path = path / "release"
    return Release(path, *_read_manifest(path / MANIFEST))


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    """Return a manifest and its digest."""
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError
        data = path.read_bytes()
        tree: dict[str, Any] = json.loads(data)
        claimed = tree.pop("digest")
        manifest = Manifest.model_validate(tree)
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); give the folder of a release") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ValidationError):
        raise ReleaseError(f"{path}: damaged, or not of this version; fetch the release again") from None
    if claimed != _digest_of(tree) or _bytes_of({**tree, "digest": claimed}) != data:
        raise ReleaseError(f"{path}: does not match its own digest; it was changed, fetch the release again")
    return manifest, claimed


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, expected: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); fetch the release again") from None
    if found != expected:
        raise _changed(path, found, expected)


def _read_verified(path: Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); fetch the release again") from None
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise _changed(path, found, expected)
    return data


def _changed(path: Path, found: str, expected: str) -> ReleaseError:
    return ReleaseError(f"{path}: SHA-256 is {found[:12]}…, the release says {expected[:12]}…; fetch the release again")


def _digest_of(tree: Any) -> str:
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _bytes_of(tree: Any) -> bytes:
    return (json.dumps(tree, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()
