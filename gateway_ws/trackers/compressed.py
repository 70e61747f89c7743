"""Bodies that trackers compress, unpacked within bounds: what is small on the wire may be large."""

import zlib
from typing import Final

from config.limits import TRACKER_BODY_BYTES_MAX
from engine.core.errors import BodyTooLarge, WireError

ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
"""`zlib` tells the two by their heads."""
RAW: Final = -zlib.MAX_WBITS
ZLIB_METHOD: Final = 8


def unpacked(body: bytes, encoding: str) -> bytes:
    """Return what `body` was before its `Content-Encoding`.

    Raises:
        BodyTooLarge: it was larger than a body may be; no more than that is ever unpacked.
        WireError: it is not whole, or packed in a way that we do not know.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            wbits = ZLIB_OR_GZIP
        case "deflate":  # by the standard with a head, in practice also without one
            wbits = ZLIB_OR_GZIP if body[:1] and body[0] & 0x0F == ZLIB_METHOD else RAW
        case _:
            raise WireError("the body is packed in a way that is not known here")
    unpacker = zlib.decompressobj(wbits)
    try:
        plain = unpacker.decompress(body, TRACKER_BODY_BYTES_MAX + 1)
    except zlib.error as error:
        raise WireError("the body is not what its encoding says") from error
    if len(plain) > TRACKER_BODY_BYTES_MAX:
        raise BodyTooLarge
    if not unpacker.eof:
        raise WireError("the body did not arrive")
    return plain
