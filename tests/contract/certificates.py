"""A private authority for tests of TLS, and the certificates that it signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificates:
    """A private authority and what it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.own = self._signed("Test authority", self.key, self.key, None, 0, 30)
        self.bundle = folder / "authority.pem"
        self.bundle.write_bytes(self.own.public_bytes(serialization.Encoding.PEM))

    def of(self, name: str, first: int = -1, last: int = 30, *, signed: bool = True) -> Path:
        """A file with key and certificate for `name`, good from day `first` to day `last`."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(name, key, self.key if signed else key, self.own if signed else None, first, last)
        file = self.folder / f"{name}{first}{last}{signed}.pem"
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, plain) + made.public_bytes(serialization.Encoding.PEM)
        )
        return file

    def _signed(self, name: str, key: Any, signer: Any, issuer: Any, first: int, last: int) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=first) - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=last))
            .add_extension(x509.BasicConstraints(ca=name == "Test authority", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        return builder.add_extension(authority, critical=False).sign(signer, hashes.SHA256())
