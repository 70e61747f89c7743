"""Which worker of `pytest -n` runs which file: never two whole products at once, while others are left to run.

A file that boots the product, a browser or both keeps many processes busy and waits for them most of its time. Two of
them side by side slow each other down, and each worker would start a demo city of its own for its share of the
browser's files. So one worker has them all, from the start on, while the others run what is small.
"""

from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

WHOLE_PRODUCT = ("tests/browser/", "tests/acceptance/")
"""In this order: what the browser's files share is not kept waiting for the others."""


def lane(scope: str) -> int:
    """Return the place in `WHOLE_PRODUCT` of a file, or what is behind the last."""
    return next((place for place, folder in enumerate(WHOLE_PRODUCT) if scope.startswith(folder)), len(WHOLE_PRODUCT))


def is_whole(scope: str) -> bool:
    """Return whether a file runs the whole product."""
    return lane(scope) < len(WHOLE_PRODUCT)


class OneProductAtATime(LoadFileScheduling):
    """Files to workers as `--dist loadfile` gives them, the whole products to one worker at a time."""

    def _assign_work_unit(self, node: "WorkerController") -> None:
        self.workqueue.move_to_end(self._next_for(node), last=False)
        super()._assign_work_unit(node)

    def _next_for(self, node: "WorkerController") -> str:
        has_lane = not any(
            is_whole(scope) and not all(unit.values())
            for other, units in self.assigned_work.items()
            if other is not node
            for scope, unit in units.items()
        )
        whole = sorted(filter(is_whole, self.workqueue), key=lane)
        small = (scope for scope in self.workqueue if not is_whole(scope))
        return whole[0] if whole and has_lane else next(small, next(iter(self.workqueue)))
