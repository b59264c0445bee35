"""A shelf for big things: the few used last stay, the one unused for longest goes first."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Keeps at most `places` values by key."""

    def __init__(self, places: int):
        self._places = places
        self._values: OrderedDict[str, T] = OrderedDict()

    def put(self, key: str, value: T) -> None:
        """Places a value as the newest; the oldest leaves if the shelf was full."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._places:
            self.drop_oldest()

    def get(self, key: str) -> T | None:
        """The value, which becomes the newest; None if it is not here."""
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def drop_oldest(self) -> bool:
        """Lets the oldest go. False if there was none."""
        if not self._values:
            return False
        self._values.popitem(last=False)
        return True

    def values(self) -> list[T]:
        """All values, oldest first."""
        return list(self._values.values())
