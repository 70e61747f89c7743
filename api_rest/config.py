"""What a page or a phone must know before anybody has signed in."""

from typing import Final, Literal

from api_rest.context import Call, NoBody, NoQuery, Reply
from api_rest.route import Access, AnyRoute, Route, Uses
from api_rest.schemas import Answer, PinAnswer
from config.settings import Settings

# One installation serves one organisation's pages; its oldest region is where the map opens.
FIRST_REGION: Final = """
SELECT r.name, r.tz, r.center_lat, r.center_lng
  FROM region r JOIN org o USING (org_id)
 ORDER BY o.created_at, r.region_id
 LIMIT 1
"""


class Region(Answer):
    """Where the map opens."""

    name: str
    tz: str
    center: PinAnswer


class FixTime(Answer):
    """The time of fixes while a recorded trace is replayed: `epoch_ms + (wall_ms - epoch_ms) * scale`."""

    scale: float
    epoch_ms: int


class Config(Answer):
    """The real addresses of the doors, and where the map opens. `region` is null before the first one exists."""

    api_url: str
    gateway_url: str
    safetap_url: str
    map_style_url: str
    mode: Literal["production", "demo"]
    region: Region | None
    clock: FixTime | None = None


async def get_config(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the public configuration."""
    settings = call.services.settings
    row = await call.conn.fetchrow(FIRST_REGION)
    region = (
        None
        if row is None
        else {
            "name": row["name"],
            "tz": row["tz"],
            "center": {"lat": row["center_lat"], "lng": row["center_lng"]},
        }
    )
    return Reply(
        {
            "api_url": settings.api_url,
            "gateway_url": settings.gateway_url,
            "safetap_url": settings.safetap_url,
            "map_style_url": settings.map_style_url,
            "mode": settings.mode,
            "region": region,
            **_fix_time(settings),
        }
    )


def _fix_time(settings: Settings) -> dict[str, object]:
    """Return the clock of fixes where it is not the wall's own."""
    if settings.fix_clock_scale == 1:
        return {}
    return {"clock": {"scale": settings.fix_clock_scale, "epoch_ms": settings.fix_clock_epoch_ms}}


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/config",
        access=Access.PUBLIC,
        handler=get_config,
        summary="The addresses of the doors",
        uses=Uses.CONNECTION,
        answer=Config,
    ),
)
