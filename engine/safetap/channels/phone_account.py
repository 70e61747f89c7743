"""The account with a phone provider that the settings name."""

from config.settings import Settings
from engine.safetap.channels.phone_api import PhoneAccount


def phone_account(settings: Settings) -> PhoneAccount | None:
    """Return the configured account; half a configuration is none."""
    if settings.phone_account is None or settings.phone_secret is None or settings.phone_sender is None:
        return None
    secret = settings.phone_secret.get_secret_value()
    return PhoneAccount(settings.phone_api_url, settings.phone_account, secret, settings.phone_sender)
