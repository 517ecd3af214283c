"""Reads the bodies of responses that aiohttp parses, within bounds."""

import zlib
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp.http import RawResponseMessage

from .messages import MAX_ERROR_BODY


async def read_body(
    message: "RawResponseMessage | aiohttp.ClientResponse",
    payload: aiohttp.StreamReader,
    most: int,
) -> bytes | None:
    """Return the body, decompressed, or None if it is larger than `most` bytes.

    The body of an error response is cut instead, and read no further.
    """
    status = message.status if isinstance(message, aiohttp.ClientResponse) else message.code
    is_error = status >= 300
    if is_error:
        most = min(most, MAX_ERROR_BODY)
    length = message.headers.get("Content-Length", "")
    if "Content-Encoding" not in message.headers and length.isdecimal() and int(length) <= most:
        return await payload.read()
    # The size is not known, so it is counted while the body is decompressed.
    unzip = _unzip(message.headers)
    pieces, size = [], 0
    async for piece in payload.iter_any():
        if unzip is not None:
            piece = unzip(piece, most + 1 - size)
        size += len(piece)
        if size > most and not is_error:
            return None
        pieces.append(piece)
        if size > most:
            return b"".join(pieces)[:most]
    return b"".join(pieces)


def _unzip(headers: Mapping[str, str]) -> Callable[[bytes, int], bytes] | None:
    """Return a function that decompresses a body piece by piece, if aiohttp does not do it.

    It knows gzip, and not the older name of gzip that some proxies use.
    """
    if headers.get("Content-Encoding", "").strip().lower() != "x-gzip":
        return None
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def unzip(piece: bytes, most: int) -> bytes:
        try:
            return decompressor.decompress(piece, most)
        except zlib.error:
            raise aiohttp.ClientPayloadError("cannot decompress the body, x-gzip") from None

    return unzip
