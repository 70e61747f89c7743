"""The groups of rows of `make bench-stream`, in the order in which they run."""

from collections.abc import Mapping
from types import MappingProxyType

from bench.stream.bad_company import bad_company_rows
from bench.stream.end_to_end import end_to_end_rows, tls_rows
from bench.stream.fan_out import fan_out_rows
from bench.stream.rig import Part
from bench.stream.shift import shift_rows
from bench.stream.sockets import socket_rows

PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "sockets": socket_rows,
        "product": end_to_end_rows,
        "tls": tls_rows,
        "fan_out": fan_out_rows,
        "bad_company": bad_company_rows,
        "shift": shift_rows,
    }
)
"""Name on the command line -> what measures it."""
