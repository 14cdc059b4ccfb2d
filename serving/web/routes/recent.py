"""`GET /models/{model}/recent`: the latest images that left at each exit, where the operator keeps them."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from serving.web.problems import documented
from serving.web.recent import RecentImages
from serving.web.schemas import RecentBody, RecentExitBody, RecentImageBody
from serving.web.served import ServedModel
from serving.web.service import Service


def router(service: Service) -> APIRouter:
    """Make the route over `service`; callers' images are for those who run the server (`Access`)."""
    routes = APIRouter(prefix="/models")

    @routes.get("/{model}/recent", summary="The latest images of each exit", responses=documented(404, 429))
    async def recent(model: str) -> RecentBody:
        """Newest first; 404 without `--keep-recent`, and but for the admin port without `--allow-admin`."""
        if service.recent is None:
            raise HTTPException(404)
        kept, chosen = service.recent, service.choose(model)
        return await service.pool.run(lambda: _body(kept, chosen))

    return routes


def _body(kept: RecentImages, model: ServedModel) -> RecentBody:
    return RecentBody(
        model=model.name,
        exits=[
            RecentExitBody(
                exit=number,
                images=[
                    RecentImageBody(
                        class_name=seen.class_name, confidence=seen.confidence, picture=seen.picture()
                    )
                    for seen in kept.of(model.name, number)
                ],
            )
            for number in range(1, len(model.exit_flops) + 1)
        ],
    )
