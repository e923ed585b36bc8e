"""The run configuration of the ServerApp: which study, where to, and whether to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from common.errors import StudyError
from common.settings.frozen import Frozen


class RunConfig(Frozen):
    """What `flwr run --run-config` gives: study, run's folder, roster, whether to resume, and what to begin with.

    `run` is the identifier of a new run; a simulation gives it, so that the same study leaves the same bytes. Elsewhere
    it is drawn, and no two runs share one.
    """

    study: Annotated[str, Field(min_length=1)]
    out: Annotated[str, Field(min_length=1)]
    roster: Annotated[str, Field(min_length=1)]
    resume: bool = False
    identifier_weights: str = ""
    start_from: str = ""
    run: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""

    @property
    def study_path(self) -> Path:
        """Path of the study.toml."""
        return Path(self.study)

    @property
    def start_path(self) -> Path | None:
        """Folder of the release that the generator goes on from, where one is given."""
        return Path(self.start_from) if self.start_from else None

    @property
    def out_path(self) -> Path:
        """The run's folder."""
        return Path(self.out)

    @property
    def roster_path(self) -> Path:
        """Path of the roster.toml."""
        return Path(self.roster)

    @property
    def identifier_weights_path(self) -> Path | None:
        """File of the identifier's first weights, where one is given."""
        return Path(self.identifier_weights) if self.identifier_weights else None

    def submitted_again(self) -> dict[str, bool | str]:
        """Return the configuration with which this run is resumed: as it is, for a plan may bind it word for word.

        A path that is relative stays so. It is read from the folder in which the app's process works, then as now.
        """
        paths = ("study", "out", "roster", "identifier_weights", "start_from")
        given = {key: value for key in paths if (value := getattr(self, key))}
        return {**given, "study": f"{self.out}/study.toml", "resume": True}


def read_run_config(values: Mapping[str, object]) -> RunConfig:
    """Parse Flower's run configuration strictly. Raises StudyError naming what is wrong."""
    try:
        return RunConfig.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise StudyError(
            f'run configuration: {problems}; give study="study.toml" roster="roster.toml" out="RUN"'
        ) from None
