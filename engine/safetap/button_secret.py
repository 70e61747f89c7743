"""What a hardware button signs with: derived from the installation's secret, so that no copy of it is kept. Pure."""

import base64
import hashlib
import hmac
from uuid import UUID


def button_secret(master: str, key_id: UUID) -> str:
    """Return the secret (`whsec_...`, Standard Webhooks) of the button that stands for one trigger key."""
    key = hmac.new(master.encode(), f"button:{key_id}".encode(), hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(key).decode()
