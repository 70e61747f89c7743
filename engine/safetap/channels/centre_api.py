"""A monitoring centre that speaks Noonlight's Dispatch API: create an alarm, tell where the person is, cancel it.

Source: https://docs.noonlight.com (Dispatch API v1). Requests carry the account's token; the format has no signature of
its own. `phone` is the desk's number: the centre rings whoever stands there, and a silent alarm rings nobody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import aiohttp
import orjson

from config.limits import LINE_CHARS_MAX, PROVIDER_ANSWER_BYTES_MAX
from engine.safetap.channels.answer import answer_fields
from engine.safetap.channels.monitoring import CENTRE_SCHEME, alarm_export
from engine.safetap.channels.notifier import NoticeMessage, NotSent
from engine.safetap.channels.over_http import OverHttp

ALARMS: Final = "/dispatch/v1/alarms"
SUCCESS: Final = range(200, 300)
FINAL: Final = frozenset({400, 404, 422})
"""The request itself is wrong: the same one again would be refused again."""
ALREADY_OVER: Final = frozenset({404, 409, 410})
"""What a centre says of an alarm that it has ended itself."""


@dataclass(frozen=True, slots=True)
class CentreAccount:
    """An account with a centre."""

    url: str
    token: str


class CentreApi(OverHttp):
    """Speaks to one centre; enter it before use. Without an account everything fails with that reason."""

    def __init__(self, account: CentreAccount | None) -> None:
        super().__init__()
        self._account = account

    async def create(self, message: NoticeMessage) -> str:
        """Return the centre's name of a new alarm.

        Raises:
            NotSent: it was not taken; for a drill, always: a centre sends people.
        """
        if message.incident["is_drill"]:
            raise NotSent("a drill goes to no monitoring centre", is_final=True)
        status, body = await self._post(ALARMS, alarm_request(message), key=message.key)
        alarm_id = answer_fields(body).get("id")
        if status not in SUCCESS or not isinstance(alarm_id, str) or not 0 < len(alarm_id) <= LINE_CHARS_MAX:
            raise NotSent(f"the monitoring centre answered {status}", is_final=status in FINAL)
        return alarm_id

    async def locate(self, alarm_id: str, fix: Mapping[str, object]) -> bool:
        """Tell where the person is now; return `False` where the centre has ended the alarm.

        Raises:
            NotSent: it was not taken.
        """
        coordinates = {"lat": fix["lat"], "lng": fix["lng"], "accuracy": fix["accuracy_m"]}
        return await self._change(alarm_id, "locations", {"coordinates": coordinates})

    async def cancel(self, alarm_id: str) -> bool:
        """Take the alarm back; return `False` where the centre has ended it before.

        Raises:
            NotSent: it was not taken.
        """
        return await self._change(alarm_id, "status", {"status": "CANCELED"})

    async def _change(self, alarm_id: str, what: str, request: Mapping[str, object]) -> bool:
        status, _ = await self._post(f"{ALARMS}/{quote(alarm_id, safe='')}/{what}", request)
        if status in ALREADY_OVER:
            return False
        if status not in SUCCESS:
            raise NotSent(f"the monitoring centre answered {status}")
        return True

    async def _post(self, path: str, request: Mapping[str, object], *, key: str | None = None) -> tuple[int, bytes]:
        if self._account is None:
            raise NotSent("no monitoring centre is configured (CLENZY_CENTRE_TOKEN)", is_final=True)
        headers = {"Authorization": f"Bearer {self._account.token}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = self._account.url.rstrip("/") + path
        try:
            async with self._client.post(
                url, data=orjson.dumps(request), headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, await answer.content.read(PROVIDER_ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"the monitoring centre: {type(error).__name__}") from error


def alarm_request(message: NoticeMessage) -> dict[str, object]:
    """Return the request for an alarm: of the export what the format knows, and the desk's number."""
    export = alarm_export(message)
    request = {name: export[name] for name in ("name", "location", "services", "instructions")}
    return request | {"phone": message.address.removeprefix(CENTRE_SCHEME), "owner_id": str(message.incident_id)}
