"""The settings of a comparison, and the runs that they call for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.comparison.config import CompareConfig
from training.comparison.contenders import MethodEntry, read_contenders
from training.comparison.runs import PlannedRun
from training.config import FitConfig
from training.errors import ConfigError


class ComparisonPlan:
    """Which runs a comparison takes.

    Args:
        config: what is compared.
        shared: settings of `training.fit` that every run has, as given.

    Raises:
        ConfigError: a label, or a combination of settings, that cannot be used.
    """

    def __init__(self, config: CompareConfig, shared: Mapping[str, Any]) -> None:
        if len(set(config.seeds)) < len(config.seeds):
            raise ConfigError(f"--seeds: expected each seed once, found {' '.join(map(str, config.seeds))}")
        if not config.epochs and not config.max_minutes:
            raise ConfigError("expected --epochs N, --max-minutes M or both, found neither")
        self.contenders = read_contenders(config.methods)
        self._config, self._shared = config, shared

    def equal_epochs(self) -> list[list[PlannedRun]]:
        """Return the runs of the same number of epochs, by contender, then seed; none where not asked for."""
        epochs = self._config.epochs
        return self._runs([epochs] * len(self.contenders), "") if epochs else []

    def trials(self) -> list[PlannedRun]:
        """Return one run of a single epoch per contender, to measure the seconds of an epoch."""
        folder = self._config.out / "timing"
        return [
            self._run(contender, self._config.seeds[0], 1, folder / contender.folder_name)
            for contender in self.contenders
            if self._config.max_minutes
        ]

    def equal_time(self, epochs: Sequence[int]) -> list[list[PlannedRun]]:
        """Return the runs of the time asked for, by contender, then seed, from each one's epochs."""
        return self._runs(epochs, f"-{self._config.max_minutes:g}min")

    def _runs(self, epochs: Sequence[int], suffix: str) -> list[list[PlannedRun]]:
        folder = self._config.out / "runs"
        return [
            [
                self._run(contender, seed, count, folder / f"{contender.folder_name}-{seed}{suffix}")
                for seed in self._config.seeds
            ]
            for contender, count in zip(self.contenders, epochs, strict=True)
        ]

    def _run(self, contender: MethodEntry, seed: int, epochs: int, folder: Path) -> PlannedRun:
        settings = {**self._shared, **contender.settings, "epochs": epochs, "seed": seed}
        method = {"method": contender.method, "method_option": dict(contender.method_option)}
        return PlannedRun(contender, folder, FitConfig.model_validate({**settings, **method}))
