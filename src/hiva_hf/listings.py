"""Long lists in messages."""

from collections.abc import Sequence


def first_of(names: Sequence[str], limit: int) -> str:
    """The first names and the number of the others, as in "F001, F002 and 11 more"."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
