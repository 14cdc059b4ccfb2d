"""`GET /models` and below it: what is loaded, what a budget buys, and how a model is doing."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request

from serving.options import ClassifyOptions
from serving.policy.budget import flops_of
from serving.settings import Settings
from serving.web.problems import documented
from serving.web.reading.query import BUDGET_PARAMETER, MAX_DROP_PARAMETER, read_options, read_query
from serving.web.schemas import (
    CertificateBody,
    CorrectionBody,
    ExitBody,
    ExitHealthBody,
    HealthBody,
    ModelBody,
    ModelsBody,
    PlanBody,
    PlannedExitBody,
)
from serving.web.served import ServedModel
from serving.web.service import Service


def router(service: Service) -> APIRouter:
    """Make the routes over `service`."""
    routes = APIRouter(prefix="/models")

    @routes.get("", summary="Every loaded model")
    async def models() -> ModelsBody:
        described = [_describe(model, service.settings.default_budget) for model in service.models.values()]
        only = next(iter(service.models)) if len(service.models) == 1 else None
        return ModelsBody(models=described, default_model=service.settings.default_model or only)

    @routes.get("/{model}", summary="One model", responses=documented(404, 422))
    async def model(model: str) -> ModelBody:
        return _describe(service.choose(model), service.settings.default_budget)

    @routes.get(
        "/{model}/plan",
        summary="Accuracy and cost under a budget or a guarantee",
        responses=documented(404, 422, 429),
        openapi_extra={"parameters": [BUDGET_PARAMETER, MAX_DROP_PARAMETER]},
    )
    async def plan(request: Request, model: str) -> PlanBody:
        chosen = service.choose(model)
        ask = read_options(read_query(request.scope["query_string"], "budget", "max_drop"))
        return await service.pool.run(lambda: _plan(chosen, ask, service.settings))

    @routes.get(
        "/{model}/health",
        summary="Budgets, drift and early answers of late",
        responses=documented(404),
    )
    async def health(model: str) -> HealthBody:
        return health_of(service.choose(model))

    return routes


def _describe(model: ServedModel, default_budget: str) -> ModelBody:
    manifest = model.manifest
    exits = zip(model.exit_flops, manifest.segments, strict=True)
    return ModelBody(
        name=model.name,
        alive=model.alive,
        providers=list(model.providers),
        features_on=model.features_on,
        runtime=model.arithmetic.runtime,
        inference_precision=model.arithmetic.precision,
        runtime_ms=dict(model.runtime_milliseconds),
        arithmetic_differs=None if model.arithmetic_differs is None else str(model.arithmetic_differs),
        architecture=manifest.architecture,
        method=manifest.method,
        data_set=manifest.data_set,
        precision=manifest.precision,
        git_revision=manifest.git_revision,
        classes=len(manifest.classes),
        preprocessing=manifest.preprocessing,
        truth=manifest.truth,
        original_flops=manifest.original_flops,
        exits=[
            ExitBody(
                exit=number,
                flops=flops,
                ms=_ms(model.exit_seconds, number),
                validation_accuracy=segment.validation_accuracy,
            )
            for number, (flops, segment) in enumerate(exits, start=1)
        ],
        default_budget=default_budget,
        default_budget_flops=flops_of(default_budget, model.exit_flops, model.exit_seconds),
    )


def _plan(model: ServedModel, ask: ClassifyOptions, settings: Settings) -> PlanBody:
    budget = None if ask.budget is None else str(ask.budget)
    max_drop = settings.max_drop if ask == ClassifyOptions() else ask.max_drop
    if max_drop is None:
        plan, certificate = model.plan(budget or settings.default_budget), None
    else:
        guaranteed = model.guarantee(max_drop, budget)
        plan, certificate = guaranteed.plan, CertificateBody(**asdict(guaranteed.certificate))
    exits = zip(model.exit_flops, plan.thresholds.tolist(), plan.shares.tolist(), strict=True)
    original = model.manifest.original_flops
    return PlanBody(
        model=model.name,
        budget_flops=plan.budget_flops,
        expected_flops=plan.expected_flops,
        budget_ms=None if plan.budget_seconds is None else 1e3 * plan.budget_seconds,
        expected_ms=None if plan.expected_seconds is None else 1e3 * plan.expected_seconds,
        expected_accuracy=plan.expected_accuracy,
        expected_accuracy_interval=plan.expected_accuracy_interval,
        images=plan.images,
        judged_on=plan.judged_on,
        truth=model.manifest.truth,
        share_of_original=original and plan.expected_flops / original,
        exits=[
            PlannedExitBody(
                exit=number,
                flops=flops,
                ms=_ms(model.exit_seconds, number),
                threshold=threshold if math.isfinite(threshold) else None,
                share=share,
            )
            for number, (flops, threshold, share) in enumerate(exits, start=1)
        ],
        certificate=certificate,
    )


def _ms(exit_seconds: Sequence[float], number: int) -> float | None:
    return 1e3 * exit_seconds[number - 1] if exit_seconds else None


def health_of(model: ServedModel) -> HealthBody:
    """Sum up how a model is doing."""
    health = model.health()
    exits = []
    for index in range(len(model.exit_flops)):
        drift, found = health.drift.get(index), health.agreement.get(index)
        late = health.agreement_of_late.get(index)
        exits.append(
            ExitHealthBody(
                exit=index + 1,
                drift_score=drift and drift.score,
                drift_limit=drift and drift.limit,
                drift_alarm=drift is not None and drift.alarm,
                drift_of=drift and drift.of,
                drift_images=drift and drift.rows,
                watched=found.watched if found else 0,
                agreement=found and found.agreed / found.watched,
                agreement_expected=late and late.expected,
                agreement_alarm=late is not None and late.alarm,
            )
        )
    return HealthBody(
        model=model.name,
        status=health.status,
        controller="off" if health.corrections is None else "on",
        corrections=[
            CorrectionBody(budget_class=label, factor=found.factor, error=found.error)
            for label, found in (health.corrections or {}).items()
        ],
        exits=exits,
        unchecked=health.unchecked,
    )
