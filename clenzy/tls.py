"""A self-made certificate authority for a local network: phones give a page their position over HTTPS only."""

import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psutil
import trustme
from cryptography import x509

from clenzy.state import write_private

CERTIFICATE_DAYS: Final = 365
"""Phones refuse certificates of a private authority that are valid for longer than 825 days."""
RENEW_BEFORE_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files."""

    authority: Path
    certificate: Path
    key: Path


def ensure_tls(folder: Path, names: list[str], now: datetime | None = None) -> TlsFiles:
    """Return a certificate for `names` (host names and addresses), newly issued when the present one does not do.

    The authority is made once and stays, so that a phone must be told to trust it only once.
    """
    files = TlsFiles(folder / "tls" / "ca.pem", folder / "tls" / "cert.pem", folder / "tls" / "key.pem")
    now = now or datetime.now(UTC)
    authority = _authority(files.authority, folder / "tls" / "ca.key")
    if not _still_good(files, names, now):
        issued = authority.issue_cert(
            *names,
            not_before=now - timedelta(days=1),  # for phones whose clocks are late
            not_after=now + timedelta(days=CERTIFICATE_DAYS),
        )
        write_private(files.key, issued.private_key_pem.bytes().decode())
        write_private(files.certificate, "".join(part.bytes().decode() for part in issued.cert_chain_pems))
    return files


def local_names() -> list[str]:
    """Return the names and addresses by which this machine may be reached; private addresses of its networks first."""
    addresses = [
        entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET and not name.startswith(("docker", "br-", "veth"))
    ]
    outward = [address for address in addresses if not ipaddress.ip_address(address).is_loopback]
    return list(dict.fromkeys([*outward, "127.0.0.1", "localhost", socket.gethostname()]))


def _authority(certificate: Path, key: Path) -> trustme.CA:
    if certificate.exists() and key.exists():
        return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
    authority = trustme.CA(organization_name="Clenzy local authority")
    write_private(key, authority.private_key_pem.bytes().decode())
    write_private(certificate, authority.cert_pem.bytes().decode())
    return authority


def _still_good(files: TlsFiles, names: list[str], now: datetime) -> bool:
    if not (files.certificate.exists() and files.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    if certificate.not_valid_after_utc < now + timedelta(days=RENEW_BEFORE_DAYS):
        return False
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= {str(name.value) for name in found}


def phone_steps(files: TlsFiles, url: str) -> str:
    """Return what to do on a phone, step by step."""
    return f"""\
Authority    {files.authority}   (give this one to phones; it holds no secret)
Certificate  {files.certificate}
Key          {files.key}

1. Bring {files.authority.name} to the phone: by mail, AirDrop, or any file share.
2. iPhone: open it, then Settings > General > VPN & Device Management > install; then Settings > General > About >
   Certificate Trust Settings > switch on "Clenzy local authority".
   Android: Settings > Security > Encryption & credentials > Install a certificate > CA certificate > choose the file.
   Computer: import it as an authority in the browser's certificate settings.
3. Start with TLS: clenzy demo --tls, or for `clenzy up`:
     CLENZY_TLS_CERT_FILE={files.certificate}
     CLENZY_TLS_KEY_FILE={files.key}
     CLENZY_HOST=0.0.0.0
4. On the phone, in the same network, open {url}
"""
