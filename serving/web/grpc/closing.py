"""Tells streams, which have no end of their own, that the server stops."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


class Closing:
    """Set once, when the server stops."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Say that the server stops."""
        self._event.set()

    async def unless(self, awaited: Awaitable[Result]) -> Result | None:
        """Wait for something, but no longer than until the server stops.

        Returns:
            Its result; None where the server stopped before.
        """
        waiting = asyncio.ensure_future(awaited)
        closing = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((waiting, closing), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            closing.cancel()
            waiting.cancel()
