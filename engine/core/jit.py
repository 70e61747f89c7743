"""The one home of numba's flags."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(fn: Callable[P, R]) -> Callable[P, R]:
    """Compile a leaf function: arrays and scalars in, arrays out, no Python objects.

    Compiled on the first call (about 1 s) or read from the cache beside the module (about 20 ms): call each kernel
    once at process start, before readiness. `fastmath` stays off so that results equal the plain reference's.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": False}
    return cast("Callable[P, R]", numba.njit(**options)(fn))
