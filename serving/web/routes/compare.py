"""`GET /models/{model}/compare`: how a canary or a shadow does beside the version that answers."""

from fastapi import APIRouter

from serving.policy.risk import share_interval
from serving.repository.comparison import Compared, Tally
from serving.repository.moments import Estimate, difference, estimate
from serving.web.problems import documented
from serving.web.routes.compare_schemas import (
    AgreementBody,
    CompareBody,
    ComparisonBody,
    DifferenceBody,
    EstimateBody,
    TallyBody,
)
from serving.web.service import Service


def router(service: Service) -> APIRouter:
    """Make the route over `service`."""
    routes = APIRouter(prefix="/models")

    @routes.get(
        "/{model}/compare",
        summary="How a canary or a shadow does beside the version that answers",
        responses=documented(404),
    )
    async def compare(model: str) -> CompareBody:
        """Comparisons that run, or the last of their kind. Intervals are of 95%."""
        slot = service.loaded.slot(model)
        found = [] if service.repository is None else service.repository.compared(model)
        return CompareBody(model=slot.name, current=slot.current, comparisons=[_body(each) for each in found])

    return routes


def _body(comparison: Compared) -> ComparisonBody:
    one, two, paired = comparison.current, comparison.other, comparison.paired
    shadow = comparison.role == "shadow"
    agreement = None
    if shadow:
        share = paired.agreed / paired.images if paired.images else None
        interval = share_interval(paired.agreed, paired.images) if paired.images else None
        agreement = AgreementBody(images=paired.images, missed=paired.missed, agreed=share, interval=interval)
        flops, confidence = estimate(paired.flops), estimate(paired.confidence)
    else:
        flops = difference(one.flops, two.flops)
        confidence = difference(one.confidence, two.confidence)
    seconds = None if shadow else _estimate(difference(one.seconds, two.seconds))
    return ComparisonBody(
        role="shadow" if shadow else "canary",
        running=comparison.running,
        share=comparison.share,
        current=_tally(one),
        other=_tally(two),
        difference=DifferenceBody(flops=_estimate(flops), confidence=_estimate(confidence), seconds=seconds),
        agreement=agreement,
    )


def _tally(tally: Tally) -> TallyBody:
    return TallyBody(
        version=tally.version,
        requests=tally.requests,
        failed=tally.failed,
        images=tally.flops.count,
        exits={str(number): count for number, count in sorted(tally.exits.items())},
        flops=_estimate(estimate(tally.flops)),
        confidence=_estimate(estimate(tally.confidence)),
        seconds=_estimate(estimate(tally.seconds)),
    )


def _estimate(found: Estimate) -> EstimateBody:
    return EstimateBody(mean=found.mean, interval=found.interval)
