"""Signatures on what a provider of text messages and calls sends us. Pure.

HMAC-SHA1, keyed with the account's secret, over the URL that was called and the sorted form fields, in base64. Source:
https://www.twilio.com/docs/usage/security#validating-requests. SHA-1 is the provider's choice; as an HMAC it still
holds.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

SIGNATURE_HEADER: Final = "X-Twilio-Signature"
DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def signature(secret: str, url: str, fields: Iterable[tuple[str, str]]) -> str:
    """Return the signature of a request with these form fields; each pair counts once, as in the providers' clients."""
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha1).digest()).decode()


def is_signed(secret: str, url: str, fields: Iterable[tuple[str, str]], given: str) -> bool:
    """Return whether `given` is the signature; some senders sign the URL with its default port, others without."""
    pairs = list(fields)
    matches = [
        hmac.compare_digest(signature(secret, form, pairs).encode(), given.encode("utf-8", "surrogateescape"))
        for form in (url, _other_form(url))
    ]
    return any(matches)


def _other_form(url: str) -> str:
    """Return the URL with its default port where it names none, and without any port where it names one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    netloc = bracketed if parts.port else f"{bracketed}:{DEFAULT_PORTS.get(parts.scheme, 443)}"
    return urlunsplit(parts._replace(netloc=netloc))
