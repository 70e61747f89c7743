"""The only reader of the environment: each composition root builds one `Settings` and hands parts on.

Each field is an environment variable: `CLENZY_` + the name in upper case, except the two that every host sets by
convention, `DATABASE_URL` and `REDIS_URL`.
"""

import os
import sys
from pathlib import Path
from typing import Final, Literal, Self
from zoneinfo import available_timezones

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from config import limits
from config.limits import (
    DRAIN_MS,
    DRAIN_MS_MAX,
    GATEWAY_PROCESSES_MAX,
    MATCHER_PROCESSES_MAX,
    REGION_RESOLUTION_MAX,
)

SECRETS_DIR: Final = "CLENZY_SECRETS_DIR"
"""Names the folder of files that hold settings, each named as its variable: how containers hand over secrets."""


class Settings(BaseSettings):
    """What differs between two installations. What differs between two builds stands in `config.limits`."""

    model_config = SettingsConfigDict(env_prefix="CLENZY_", extra="ignore", populate_by_name=True)

    mode: Literal["production", "demo"] = "production"
    """`demo` adds demo accounts and the simulator; nothing else differs."""
    state_dir: Path = Path(".clenzy")
    """Embedded stores, keys, the spool, mail of the demo."""

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "CLENZY_DATABASE_URL", "database_url")
    )
    redis_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("REDIS_URL", "CLENZY_REDIS_URL", "redis_url")
    )

    redis_cluster: bool = False
    """`REDIS_URL` names one node of a Redis Cluster; the others are asked for there."""

    host: str = "127.0.0.1"
    """The address that every port binds to. `0.0.0.0` only together with TLS."""
    api_port: int = Field(default=8080, ge=1, le=65535)
    gateway_port: int = Field(default=8081, ge=1, le=65535)
    safetap_port: int = Field(default=8082, ge=1, le=65535)
    ops_port: int | None = Field(default=None, ge=1, le=65535)
    """Health and metrics of matcher, notify, zone watch and keeper, which serve nothing else, and of each gateway."""
    gateway_processes: int = Field(default=1, ge=1, le=GATEWAY_PROCESSES_MAX)
    """Gateways that share `gateway_port`; the kernel spreads connections over them (Linux only)."""
    matcher_processes: int = Field(default=1, ge=1, le=MATCHER_PROCESSES_MAX)
    """Matchers that share the regions; each takes a core while it is busy."""
    matcher_region_resolution: int = Field(default=4, ge=3, le=REGION_RESOLUTION_MAX)
    """H3 resolution of the regions that matchers share, the same for all of them: 4 is some 1,770 km2, a large city."""
    drain_ms: int | None = Field(default=None, ge=0, le=DRAIN_MS_MAX)
    """Within what time a stopping gateway sends its clients away; 0: at once. Default: see `drain_within_ms`."""
    safetap_socket: Path | None = None
    """Unix socket of SafeTap's door for the gateway and the API. Default: `state_dir/safetap.sock`."""

    api_public_url: str | None = None
    gateway_public_url: str | None = None
    safetap_public_url: str | None = None
    """What browsers and phones are told. Default: scheme, host and port above."""
    gateway_polling: bool = True
    """Lets Socket.IO clients start by HTTP polling. Off where requests of one client may reach several gateways."""
    allowed_origins: list[str] = []
    """Web origins besides `api_public_url` that may open sockets."""

    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    jwt_private_key_file: Path | None = None
    """Ed25519 key (PEM) that signs access tokens; only the API has it."""
    jwt_public_key_file: Path | None = None
    """Its public half, for every process that checks tokens."""
    person_keys_file: Path | None = None
    """Keys that wrap people's keys, the same file for every process. Default: `state_dir/keys/person_keys.json`, made
    at first use: with several machines, name it."""

    fix_clock_scale: float = Field(default=1, gt=0, le=3600)
    """How many times faster than the wall the time of fixes runs: replays of recorded traces only."""
    fix_clock_epoch_ms: int = Field(default=0, ge=0)
    """The instant (Unix ms) at which the time of fixes and the wall agree."""

    fix_future_ms_max: int = Field(default=limits.FIX_FUTURE_MS_MAX, ge=1_000, le=3_600_000)
    """A fix further ahead of the server is refused as `future`."""
    fix_age_ms_max: int = Field(default=limits.FIX_AGE_MS_MAX, ge=60_000, le=limits.FIX_AGE_MS_MAX)
    """An older fix is refused as `past`."""
    fix_accuracy_m_max: int = Field(default=limits.FIX_ACCURACY_M_MAX, ge=10, le=5_000)
    """A fix with a larger stated error radius is refused as `inaccurate`."""
    fix_speed_mps_max: float = Field(default=limits.FIX_SPEED_MPS_MAX, ge=5, le=350)
    """A step that needs more is refused as `jump`."""
    fix_jump_slack_m: int = Field(default=limits.FIX_JUMP_SLACK_M, ge=0, le=1_000)
    """Free metres of a step."""
    fix_static_radius_m: int = Field(default=limits.FIX_STATIC_RADIUS_M, ge=0, le=200)
    """Within this, and its error radius, a standing phone does not move; 0: every fix moves it."""
    fix_distance_m_min: int = Field(default=limits.FIX_DISTANCE_M_MIN, ge=0, le=1_000)
    """A fix nearer to the present place is refused as `near`; 0: none is."""
    fix_period_ms_min: int = Field(default=limits.FIX_PERIOD_MS_MIN, ge=0, le=limits.WORKER_SILENT_MS // 2)
    """A fix sooner after the newest accepted one is refused as `too_soon`; 0: none is."""

    trail_days: int = Field(default=30, ge=2, le=3_650)
    """How many days the trails of workers are kept; the keeper drops older days."""

    eta_source: Literal["straight_line", "roads", "osrm", "valhalla"] = "straight_line"
    """Where travel times come from. Each falls back to the straight line and says why."""
    roads_file: Path | None = None
    """Road file of `clenzy roads build`, for `eta_source` `roads`."""
    eta_learned_file: Path | None = None
    """What `clenzy roads learn` made of real trips on these roads."""
    eta_time_zone: str = "UTC"
    """IANA name of the zone whose hours the learned times go by."""
    eta_router_url: str | None = None
    """An OSRM or Valhalla server, for `eta_source` `osrm` or `valhalla`."""

    jurisdictions_dir: Path | None = None
    """Folder of one's own `<COUNTRY>.toml`, each in the place of the one that ships (`config/jurisdictions`)."""

    map_style_url: str = "builtin"
    smtp_url: SecretStr | None = None
    """`smtp://user:password@host:port` or `smtps://...`; without it e-mail notices fail with that reason."""
    mail_from: str = "clenzy@localhost"
    webhook_secret: SecretStr | None = None
    """Master secret of webhook signatures, 32 random characters or more; each organisation's own derives from it."""
    webhook_private_networks: bool = False
    """Lets webhooks go to private networks and over plain HTTP: for receivers inside the same network."""

    watchdog_url: SecretStr | None = None
    """A dead-man watchdog outside, called (GET) while alarms would be worked on: it alarms when it hears nothing."""
    watchdog_every_s: int = Field(default=limits.OUTSIDE_PING_S, ge=10, le=3_600)
    """How often; the watchdog's own patience is twice that or more."""

    outage_webhook_url: SecretStr | None = None
    """Called by SafeTap's door itself about alarms that Postgres, being away, does not have; signed as others are."""
    outage_phones: list[str] = []
    """Numbers (E.164) that get a text message then."""

    centre_api_url: str = "https://api.noonlight.com"
    """A monitoring centre that speaks Noonlight's Dispatch API."""
    centre_token: SecretStr | None = None
    """The account's token there; without one its notices fail with that reason."""

    phone_api_url: str = "https://api.twilio.com"
    """A provider of text messages and calls that speaks Twilio's REST."""
    phone_account: str | None = None
    """Its account; without one text messages and calls fail with that reason."""
    phone_secret: SecretStr | None = None
    """The account's secret: signs in there, and checks what the provider sends us."""
    phone_sender: str | None = None
    """The number (E.164) that messages and calls come from, or a messaging service (`MG...`)."""
    vapid_key_file: Path | None = None
    """P-256 key (PEM) that signs Web Push; browsers are told its public half when they subscribe."""
    vapid_subject: str = "mailto:clenzy@localhost"
    """Whom a push service turns to about our pushes: `mailto:` or `https:`."""
    fcm_credentials_file: Path | None = None
    """Service account (JSON) of the Firebase project that reaches apps; without it pushes to them fail and say so."""
    fcm_api_url: str = "https://fcm.googleapis.com"

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - its folder is known only here
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what the environment does not say from files of the variables' names in `CLENZY_SECRETS_DIR`."""
        folder = os.environ.get(SECRETS_DIR)
        files = SecretsSettingsSource(settings_cls, secrets_dir=folder)
        return init_settings, env_settings, dotenv_settings, *([] if folder is None else [files])

    @field_validator("gateway_processes")
    @classmethod
    def _can_share_a_port(cls, processes: int) -> int:
        if processes > 1 and sys.platform != "linux":
            raise ValueError("several gateways on one port need Linux (SO_REUSEPORT): use 1 here")
        return processes

    @field_validator("eta_time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name} is no time zone: use an IANA name such as Europe/Lisbon")
        return name

    @model_validator(mode="after")
    def _has_what_its_eta_source_needs(self) -> Self:
        if self.eta_source == "roads" and self.roads_file is None:
            raise ValueError("CLENZY_ETA_SOURCE=roads needs CLENZY_ROADS_FILE: make one with `clenzy roads build`")
        if self.eta_source in {"osrm", "valhalla"} and self.eta_router_url is None:
            raise ValueError(f"CLENZY_ETA_SOURCE={self.eta_source} needs CLENZY_ETA_ROUTER_URL")
        return self

    @property
    def drain_within_ms(self) -> int:
        """Return how long a stopping gateway takes to send everybody away: a demo's clients have nowhere to go."""
        if self.drain_ms is not None:
            return self.drain_ms
        return 0 if self.mode == "demo" else DRAIN_MS

    @property
    def scheme(self) -> str:
        """Return `https` where a certificate is set, else `http`."""
        return "https" if self.tls_cert_file else "http"

    @property
    def api_url(self) -> str:
        """Where browsers reach the API and the pages."""
        return self.api_public_url or f"{self.scheme}://{self.host}:{self.api_port}"

    @property
    def gateway_url(self) -> str:
        """Where phones and browsers reach the gateway."""
        return self.gateway_public_url or f"{self.scheme}://{self.host}:{self.gateway_port}"

    @property
    def safetap_url(self) -> str:
        """Where phones and consoles reach SafeTap's own door."""
        return self.safetap_public_url or f"{self.scheme}://{self.host}:{self.safetap_port}"

    @property
    def safetap_socket_path(self) -> Path:
        """The Unix socket of SafeTap's door."""
        return self.safetap_socket or self.state_dir / "safetap.sock"

    @property
    def origins(self) -> frozenset[str]:
        """Origins that may open sockets and call the API from a browser."""
        return frozenset({self.api_url, *self.allowed_origins})
