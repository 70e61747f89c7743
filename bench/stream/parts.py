"""The groups of rows of `make bench-stream`, in the order in which they run."""

from collections.abc import Mapping
from types import MappingProxyType

from bench.stream.end_to_end import end_to_end_rows
from bench.stream.rig import Part

PARTS: Mapping[str, Part] = MappingProxyType({"product": end_to_end_rows})
"""Name on the command line -> what measures it."""
