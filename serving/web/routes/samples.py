"""`GET /models/{model}/samples`: the images that came with a model, to try it with."""

import base64

from fastapi import APIRouter
from pydantic import BaseModel, Field

from serving.web.problems import documented
from serving.web.served import ServedModel
from serving.web.service import Service


class SampleBody(BaseModel):
    """One image that came with a model."""

    image: str = Field(description="The file in base64, as `POST /classify` takes it.")
    media_type: str
    class_name: str | None = Field(description="Its true class; null where nobody knows it.")


class SamplesBody(BaseModel):
    """All images that came with a model; an empty list where none did."""

    model: str
    samples: list[SampleBody]


def router(service: Service) -> APIRouter:
    """Make the route over `service`."""
    routes = APIRouter(prefix="/models")

    @routes.get("/{model}/samples", summary="Images to try it with", responses=documented(404, 422, 429))
    async def samples(model: str) -> SamplesBody:
        """The few images in its bundle, if any. With `--admin-port` they are on that port alone."""
        chosen = service.choose(model)
        return await service.pool.run(lambda: _body(chosen))

    return routes


def _body(model: ServedModel) -> SamplesBody:
    samples, classes = model.samples, model.manifest.classes
    if samples is None:
        return SamplesBody(model=model.name, samples=[])
    labels = samples.labels or (None,) * len(samples.images)
    return SamplesBody(
        model=model.name,
        samples=[
            SampleBody(
                image=base64.b64encode(image).decode(),
                media_type=samples.media_type(index),
                class_name=None if label is None else classes[label],
            )
            for index, (image, label) in enumerate(zip(samples.images, labels, strict=True))
        ],
    )
