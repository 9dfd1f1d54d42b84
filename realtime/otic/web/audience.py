"""The pages that are open: each gets what all get, and none is waited for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

Message = str | bytes

MOST_PAGES = 64
SLOWEST_SECONDS = 5.0
"""A page that is further behind is ended; it comes back and is told what it has missed."""


class Page:
    """One open page, and the messages that it has not taken yet.

    They are the same objects for all pages, and never more than of ``SLOWEST_SECONDS``.

    Parameters
    ----------
    abort : callable
        Ends its connection at once.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self._abort = abort
        self._waiting: deque[tuple[float, Message]] = deque()
        self._came = asyncio.Event()

    def offer(self, messages: Iterable[Message]) -> bool:
        """Have it take these when it can; False where it is too slow, and was ended."""
        now = time.monotonic()
        if self._waiting and now - self._waiting[0][0] > SLOWEST_SECONDS:
            self._waiting.clear()
            self._abort()
            return False
        self._waiting.extend((now, message) for message in messages)
        self._came.set()
        return True

    async def send_all(self, send: Callable[[Message], Awaitable[None]]) -> None:
        """Hand over what comes, in order, until this is cancelled or ``send`` fails."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                # It waits as long as it is being sent, so that a page that takes nothing is known.
                await send(self._waiting[0][1])
                if self._waiting:
                    self._waiting.popleft()


class Audience:
    """All open pages. Not thread safe."""

    def __init__(self) -> None:
        self._pages: set[Page] = set()

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def full(self) -> bool:
        """Whether no further page may come."""
        return len(self._pages) >= MOST_PAGES

    def join(self, page: Page) -> None:
        """It gets what is told from now on."""
        self._pages.add(page)

    def leave(self, page: Page) -> None:
        """It gets nothing any more."""
        self._pages.discard(page)

    def tell(self, messages: list[Message]) -> None:
        """To everybody."""
        if messages:
            for page in [page for page in self._pages if not page.offer(messages)]:
                self._pages.discard(page)
