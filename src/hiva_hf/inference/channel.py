"""A bounded queue from one thread to the next, which measures how long each waited for the other."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar


Item = TypeVar("Item")


class ChannelStopped(Exception):
    """The consumer needs no more items."""


class Channel(Generic[Item]):
    """A bounded queue that can be ended from both sides.

    Args:
        capacity: Number of items at which the producer has to wait.

    Attributes:
        producer_wait: Seconds that the producer waited for space.
        consumer_wait: Seconds that the consumer waited for items.
    """

    def __init__(self, capacity: int):
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}.")
        self.capacity = capacity
        self.producer_wait = 0.0
        self.consumer_wait = 0.0
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_complete = False
        self._is_stopped = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Adds an item as soon as there is space.

        Raises:
            ChannelStopped: The consumer called `stop`.
        """
        with self._changed:
            start = time.perf_counter()
            self._changed.wait_for(lambda: self._is_stopped or len(self._items) < self.capacity)
            self.producer_wait += time.perf_counter() - start
            if self._is_stopped:
                raise ChannelStopped
            self._items.append(item)
            self._changed.notify_all()

    def complete(self, error: BaseException | None = None) -> None:
        """Ends the queue; after the remaining items, `error`, if there is one, is raised in the consumer."""
        with self._changed:
            self._is_complete, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Drops all items and makes the producer's next `put` raise `ChannelStopped`."""
        with self._changed:
            self._is_stopped = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Yields the items in order, waiting for each."""
        while True:
            with self._changed:
                start = time.perf_counter()
                self._changed.wait_for(lambda: self._items or self._is_complete or self._is_stopped)
                self.consumer_wait += time.perf_counter() - start
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            # A waiting generator must not keep an item alive that its consumer has released.
            del item
        if self._error is not None:
            raise self._error
