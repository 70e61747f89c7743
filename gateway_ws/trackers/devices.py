"""Whose device a token is: asked of Postgres, remembered for a short while, and longer while Postgres is away."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from config.limits import (
    DEVICE_FRESH_MS,
    DEVICE_LOOKUPS_MAX,
    DEVICE_RETRY_MS,
    DEVICE_TRUSTED_MS,
    DEVICES_KNOWN_MAX,
)
from engine.core.clock import Clock
from engine.core.errors import NotSignedIn, Unavailable
from engine.people.devices import DeviceSpeaker, looks_like_a_token
from engine.people.refresh_tokens import token_hash
from gateway_ws.engine_calls import EngineCalls


@dataclass(slots=True)
class _Known:
    speaker: DeviceSpeaker
    confirmed_ms: int
    ask_again_ms: int


class Devices:
    """The devices that one gateway knows, by the hash of their token: the tokens themselves are not kept."""

    def __init__(self, calls: EngineCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._lookups = asyncio.Semaphore(DEVICE_LOOKUPS_MAX)

    async def speaker(self, token: str | None) -> DeviceSpeaker:
        """Return for whom `token` speaks.

        Raises:
            NotSignedIn: for nobody, or no longer.
            Unavailable: Postgres is away, and has not confirmed this token lately.
        """
        if token is None or not looks_like_a_token(token):
            raise NotSignedIn("This needs a device's token.")
        key = token_hash(token)
        known = self._known.get(key)
        if known is not None and self._clock.now_ms() < known.ask_again_ms:
            self._known.move_to_end(key)
            return known.speaker
        try:
            async with self._lookups:
                speaker = await self._calls.device_speaker(token)
        except Unavailable:
            return self._still_trusted(known)
        return self._remember(key, speaker)

    def _still_trusted(self, known: _Known | None) -> DeviceSpeaker:
        now_ms = self._clock.now_ms()
        if known is None or now_ms - known.confirmed_ms > DEVICE_TRUSTED_MS:
            raise Unavailable
        known.ask_again_ms = now_ms + DEVICE_RETRY_MS
        return known.speaker

    def _remember(self, key: bytes, speaker: DeviceSpeaker | None) -> DeviceSpeaker:
        if speaker is None:
            self._known.pop(key, None)
            raise NotSignedIn("This device is not known, or not any more.")
        now_ms = self._clock.now_ms()
        self._known[key] = _Known(speaker, now_ms, now_ms + DEVICE_FRESH_MS)
        self._known.move_to_end(key)
        if len(self._known) > DEVICES_KNOWN_MAX:
            self._known.popitem(last=False)
        return speaker
