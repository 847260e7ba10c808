"""The page's own certificate, for installations that have none yet: made once, kept beside the home folder's keys.

A browser warns about it, since no authority signed it; `tls_cert_file` and `tls_key_file` replace it.
"""

import ipaddress
import os
import socket
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tasks.clock import host_time
from tasks.errors import Invalid
from tasks.settings import Settings

# Browsers refuse server certificates that are valid for longer than 398 days (CA/Browser Forum, 2020).
VALID_FOR = timedelta(days=397)
# A page that is started once a month never meets an expired certificate.
RENEW_BEFORE = timedelta(days=45)
# Clients whose clocks are behind must not refuse a new certificate.
BACKDATED = timedelta(hours=1)


def certificate_files(settings: Settings) -> tuple[Path, Path]:
    """The certificate and the private key to serve with, making our own where none are set.

    Raises Invalid when only one of the two is set, or when a file that is set cannot be read.
    """
    given = (settings.tls_cert_file, settings.tls_key_file)
    if any(given):
        if not all(given):
            raise Invalid("Set both tls_cert_file and tls_key_file, or neither.", code="tls-files")
        for name in given:
            if not os.access(name, os.R_OK):
                raise Invalid(f"The TLS file {name} cannot be read.", code="tls-files")
        return Path(given[0]), Path(given[1])
    folder = settings.home / "tls"
    certificate, key = folder / "page.crt", folder / "page.key"
    if not (certificate.exists() and key.exists() and _lasts(certificate)):
        _make(folder, certificate, key)
    return certificate, key


def _lasts(certificate: Path) -> bool:
    """Whether it is readable and good for a while; its times are the host's, as for whoever connects."""
    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        return False
    return read.not_valid_after_utc > host_time() + RENEW_BEFORE


def _make(folder: Path, certificate: Path, key_file: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    signed = _certificate(key)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key_file, pem, 0o600)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM), 0o644)


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(text) for text in dict.fromkeys(("localhost", host))]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    at = host_time()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - BACKDATED)
        .not_valid_after(at - BACKDATED + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once; it never exists with wider rights than `mode`."""
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
