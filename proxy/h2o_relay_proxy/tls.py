"""https on the relay's own sockets, from the certificate that the operator has."""

from __future__ import annotations

import ssl
from pathlib import Path

from h2o_relay.settings import SettingError, Settings, user_path

CERTIFICATE, KEY, PASSWORD = "--ssl-certfile", "--ssl-keyfile", "--ssl-keyfile-password"


def is_secure(settings: Settings) -> bool:
    """Whether the relay speaks https."""
    return settings.ssl_certfile is not None


def check_tls(settings: Settings) -> None:
    """Raises SettingError, naming the flag, for a certificate or a key that cannot be used."""
    if server_context(settings) is None and settings.ssl_keyfile is not None:
        raise SettingError(f"{KEY}: there is no certificate; give {CERTIFICATE} too")


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with Python's choice of ciphers; None for http. Raises SettingError, naming
    the flag.
    """
    if settings.ssl_certfile is None:
        return None
    certificate = user_path(settings.ssl_certfile)
    key = user_path(settings.ssl_keyfile) if settings.ssl_keyfile else None
    for flag, path in ((CERTIFICATE, certificate), (KEY, key)):
        if path is not None:
            _readable(flag, path)
    password = settings.ssl_keyfile_password or ""  # never asked for at the terminal
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, lambda: password)
    except ssl.SSLError as error:
        raise SettingError(_problem(error, certificate, key)) from None
    return context


def look_context() -> ssl.SSLContext:
    """For a look at whether our own child answers. The certificate is for the name that people
    use, which is not the address that is looked at; nothing is told there, and nothing believed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _readable(flag: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise SettingError(f"{flag}: cannot read {path}: {error.strerror}") from None


def _problem(error: ssl.SSLError, certificate: Path, key: Path | None) -> str:
    """What is wrong, as far as OpenSSL tells."""
    reason = (error.reason or "").upper()
    if "MISMATCH" in reason:
        return f"{KEY}: the key is not the one of the certificate in {certificate}"
    if key is None:
        return (
            f"{CERTIFICATE}: {certificate} holds no certificate with its key, or {PASSWORD} is "
            f"missing; a key in a file of its own is {KEY}"
        )
    return (
        f"{CERTIFICATE}, {KEY}: {certificate} and {key} are no certificate and key in PEM, or "
        f"{PASSWORD} is missing or wrong"
    )
