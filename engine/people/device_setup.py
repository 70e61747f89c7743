"""How each stock tracker is told where to send: a URL to type in, and a link to tap where the app knows one.

The token stands in a URL only for apps that have no other place for it.
"""

import base64
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import orjson

from engine.core.vocabulary import DeviceKind

USERNAME: Final = "clenzy"
"""Goes with the token as the password; anything does."""
OWNTRACKS_HTTP_MODE: Final = 3


@dataclass(frozen=True, slots=True)
class DeviceSetup:
    """What to do in one app. `deep_link` opens the app and sets it up; it carries the token."""

    app: DeviceKind
    url: str
    username: str | None = None
    """Set where the app signs in by name and password; the password is the token."""
    deep_link: str | None = None


def setups(*, gateway_url: str, token: str) -> tuple[DeviceSetup, ...]:
    """Return the set-up of every app for one device."""
    base = f"{gateway_url.rstrip('/')}/ingest"
    return (
        _owntracks(f"{base}/owntracks", token),
        DeviceSetup(
            DeviceKind.OSMAND,
            f"{base}/osmand?id={token}&lat={{0}}&lon={{1}}&timestamp={{2}}&accuracy={{3}}&altitude={{4}}"
            "&speed_mps={5}&bearing={6}",
        ),
        # The app's QR reader takes the URL without the query as the server, and `id` as the device's own id.
        DeviceSetup(DeviceKind.TRACCAR, f"{base}/traccar?id={token}"),
        DeviceSetup(
            DeviceKind.OVERLAND,
            f"{base}/overland",
            deep_link=f"overland://setup?{urlencode({'url': f'{base}/overland', 'token': token})}",
        ),
        DeviceSetup(
            DeviceKind.GPSLOGGER,
            f"{base}/gpslogger?token={token}&lat=%LAT&lon=%LON&acc=%ACC&spd=%SPD&dir=%DIR&time=%TIMESTAMP"
            "&batt=%BATT&aid=%AID",
        ),
    )


def setup_of(kind: DeviceKind, *, gateway_url: str, token: str) -> DeviceSetup:
    """Return the set-up of one app."""
    return next(setup for setup in setups(gateway_url=gateway_url, token=token) if setup.app is kind)


def _owntracks(url: str, token: str) -> DeviceSetup:
    configuration = {
        "_type": "configuration",
        "mode": OWNTRACKS_HTTP_MODE,
        "url": url,
        "auth": True,
        "username": USERNAME,
        "password": token,
    }
    inline = urlencode({"inline": base64.b64encode(orjson.dumps(configuration)).decode()})
    return DeviceSetup(DeviceKind.OWNTRACKS, url, username=USERNAME, deep_link=f"owntracks:///config?{inline}")
