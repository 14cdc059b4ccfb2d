"""Measures a run by torch, or a bundle by the serving engine: accuracy per exit, and what budgets buy."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from serving.bundle import Bundle
from serving.bundle.served_policy import DEFAULT_POLICY, served_policy
from serving.command_line import flag
from serving.engine.backends.registry import calibrated_backend
from serving.engine.engine import Engine
from serving.policy.budget import parse_budget
from serving.policy.plan import PathPolicy
from serving.policy.registry import fit_policy
from training.calibration.chance import tell_chance
from training.calibration.collect import Labels, Probabilities, engine_probabilities, scorers_of
from training.calibration.temperature import fit_temperatures
from training.data.batches import Data
from training.data.config import DataConfig
from training.data.feeds import Batch
from training.data.opening import open_data, open_split
from training.errors import ConfigError
from training.evaluation.areas import areas
from training.evaluation.candidates import outcome
from training.evaluation.config import EvaluateConfig
from training.evaluation.evaluation import Evaluation, Scored, curve_of
from training.evaluation.failure import exit_quality, overthinking
from training.evaluation.learned_scores import Predictions, learned
from training.evaluation.policy_comparison import Comparison, compare
from training.evaluation.predict import predict
from training.models.flops import SegmentFlops, cut_flops, exit_flops, segment_flops
from training.runs.devices import use_device
from training.runs.run import Run

RUN_MEASURE = "max_probability"
"""The confidence that a run is judged by, MSDNet's; a bundle names its own."""


def evaluate_run(run: Run, config: EvaluateConfig) -> tuple[Evaluation, Comparison | None]:
    """Compute every exit by torch; fit on the validation images, measure on the split asked for.

    Returns:
        The evaluation, and the comparison of all policies where it was asked for.

    Raises:
        ConfigError: settings that are for bundles only.
        RunError: the run has no finished epoch.
        DataError: its data set cannot be found or has changed.
    """
    for_bundles = ("dataset", "image_column", "label_column")
    if foreign := [flag(name) for name in for_bundles if getattr(config, name) is not None]:
        raise ConfigError(f"a run is evaluated on its own data set: leave out {', '.join(foreign)}")
    device = use_device(config.device, config.threads)
    model = run.model().to(device)
    data = run.data(batch_size=config.batch_size, device=device)
    segments = segment_flops(model)
    flops = exit_flops(segments)
    to_fit_on = predict(model, data.validation())
    to_measure = predict(model, data.selection() if config.split == "validation" else data.test())
    scorers = scorers_of(fit_temperatures(*to_fit_on) if config.compares else np.ones(model.exits))
    names = list(scorers) if config.compares else [RUN_MEASURE]
    fitted = {name: Scored.of(*to_fit_on, scorers[name]) for name in names}
    measured = {name: Scored.of(*to_measure, scorers[name]) for name in names}
    base = fitted[RUN_MEASURE]
    policy = fit_policy(config.policy_name or DEFAULT_POLICY.name, base.score, base.correct, flops)
    fitted_on = f"{len(base.score):,} validation images"
    evaluation = _evaluation(
        run.folder, "run", data.name, config, fitted_on, segments, policy, measured[RUN_MEASURE], to_measure
    )
    if not config.compares:
        return evaluation, None
    return evaluation, _compare(fitted, to_fit_on[0].argmax(-1), measured, to_measure[0].argmax(-1), flops)


def evaluate_bundle(bundle: Bundle, config: EvaluateConfig) -> tuple[Evaluation, Comparison | None]:
    """Compute every exit by the serving engine; fit on the bundle's calibration, measure on test images.

    Returns:
        The evaluation, and the comparison of all policies where it was asked for.

    Raises:
        ConfigError: the data set's classes are not the bundle's, or the split is not for bundles.
        DataError: the data set cannot be found.
    """
    if config.split != "test":
        raise ConfigError("a bundle is evaluated on test images: it was fitted on its calibration")
    data = data_of(bundle, config)
    manifest, calibration = bundle.manifest, bundle.calibration
    backend = calibrated_backend(manifest)
    engine = Engine(bundle, threads=config.threads or 0, backend=backend)
    answers = served(engine, data.test())
    evaluation = evaluation_of(bundle, data.name, answers, config)
    if not config.compares:
        return evaluation, None
    fit, flops, names = calibration.fit, manifest.exit_flops, list(calibration.confidence)
    measured = {name: Scored.of(*answers, calibration.scorer(name)) for name in names}
    fitted = {name: Scored(calibration.score(name)[fit], calibration.correct[fit]) for name in names}
    return evaluation, _compare(fitted, calibration.prediction[fit], measured, answers[0].argmax(-1), flops)


def evaluation_of(
    bundle: Bundle, data_set: str, answers: tuple[Probabilities, Labels], config: EvaluateConfig
) -> Evaluation:
    """Judge a bundle by answers to test images that were computed by the serving engine.

    Args:
        bundle: whose calibration thresholds are fitted on.
        data_set: the name of the images' data set.
        answers: probabilities [N, K, C] and labels [N].
        config: budgets and policy.
    """
    manifest, calibration = bundle.manifest, bundle.calibration
    measured = Scored.of(*answers, calibration.scorer(manifest.calibration.confidence))
    policy = served_policy(manifest, calibration, config.policy_name)
    fitted_on = f"{calibration.fit.sum():,} calibration images"
    segments = [SegmentFlops(segment.body_flops, segment.head_flops) for segment in manifest.segments]
    return _evaluation(
        bundle.folder, "bundle", data_set, config, fitted_on, segments, policy, measured, answers
    )


def _compare(
    fitted: Mapping[str, Scored],
    fitted_prediction: Predictions,
    measured: Mapping[str, Scored],
    measured_prediction: Predictions,
    flops: Sequence[int],
) -> Comparison:
    """Compare all policies on all measures, and on scores that are learned from the same images."""
    more, more_measured = learned(fitted, fitted_prediction, measured, measured_prediction)
    return compare({**fitted, **more}, {**measured, **more_measured}, flops)


def served(engine: Engine, batches: Iterable[Batch]) -> tuple[Probabilities, Labels]:
    """Return the probabilities [N, K, C] that the engine gives at every exit, and the labels [N]."""
    answers = [
        (engine_probabilities(engine, batch.images.cpu().numpy()), batch.labels.cpu().numpy())
        for batch in batches
    ]
    probabilities, labels = zip(*answers, strict=True)
    return np.concatenate(probabilities), np.concatenate(labels)


def data_of(bundle: Bundle, config: EvaluateConfig) -> Data:
    """Open the bundle's data set; which images are for testing depends on the seed of its split alone."""
    facts = bundle.manifest.data_set
    settings = DataConfig(
        dataset=config.dataset or facts.name,
        image_column=config.image_column,
        label_column=config.label_column,
        split_seed=facts.split_seed or 0,
    )
    if facts.calibrated_on_test is not None and open_split(settings)[1].fingerprint == facts.fingerprint:
        drawn = {"validation_from": "test", "validation_share": facts.calibrated_on_test}
        settings = settings.model_copy(update=drawn)  # what it was calibrated on is not tested on
    data = open_data(settings, batch_size=config.batch_size, seed=0, spec=bundle.manifest.preprocessing)
    if data.classes != bundle.manifest.classes:
        raise ConfigError(
            f"data set {data.name}: expected the bundle's {len(bundle.manifest.classes)} classes "
            f"({', '.join(bundle.manifest.classes[:5])}, …), found {len(data.classes)} "
            f"({', '.join(data.classes[:5])}, …); name the right one by --dataset"
        )
    return data


def _evaluation(
    folder: Path,
    kind: str,
    data_set: str,
    config: EvaluateConfig,
    fitted_on: str,
    segments: list[SegmentFlops],
    policy: PathPolicy,
    measured: Scored,
    answers: tuple[Probabilities, Labels],
) -> Evaluation:
    flops = exit_flops(segments)
    tell_chance(float(measured.correct[:, -1].mean()), answers[0].shape[-1], len(measured.score))
    curve = curve_of(policy, measured, flops, [parse_budget(budget, flops) for budget in config.budgets])
    budgets = [point.budget_flops for point in curve]
    under_budgets = outcome(policy, measured, budgets, flops)
    return Evaluation(
        name=folder.resolve().name,
        kind=kind,
        data_set=data_set,
        split=config.split,
        images=len(measured.score),
        fitted_on=fitted_on,
        exit_flops=tuple(flops),
        cut_flops=tuple(cut_flops(segments)),
        exit_accuracy=tuple(float(share) for share in measured.correct.mean(axis=0)),
        curve=curve,
        quality=exit_quality(*answers, measured.score),
        overthinking=overthinking(measured.correct),
        areas=areas(under_budgets.right, under_budgets.spent_flops, measured.correct, flops),
    )
