"""Images as bodies of a request, and one request to an app of its own."""

import asyncio
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image

from serving.web.app import create_app
from serving.web.service import Service
from tests.bundles import tiny_images

PNG = {"Content-Type": "image/png"}
NPY = {"Content-Type": "application/x-npy"}
JSON = {"Content-Type": "application/json"}


def encoded(image: np.ndarray[Any, Any], image_format: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, image_format)
    return stream.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


IMAGES = tiny_images(3)
IMAGE = encoded(IMAGES[0])


def post(service: Service, url: str, content: Any = IMAGE, headers: Any = PNG) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(url, content=content, headers=headers)

    return asyncio.run(send())
