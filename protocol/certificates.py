"""Link certificates: self-signed P-256, fresh for each process, never on disk (CRYPTO 7).

They say nothing: no name, no identity, the same dates for everybody. A stable certificate would
be a mark by which any prober could follow a device; who the other side is, the handshake proves.
For a relay's web endpoint there is one with names as well, for who tries it without a real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALPN = "hf/1"
"""The application protocol of both kinds of link."""


@dataclass(frozen=True, slots=True)
class LinkCertificate:
    """A key that lives as long as this process, and its certificate."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> LinkCertificate:
        """P-256, because it is what QUIC and TLS libraries all take (Ed25519 fails in qh3)."""
        return cls._make(())

    @classmethod
    def for_hosts(cls, *hosts: str) -> LinkCertificate:
        """One for browsers, with names or addresses, which they are told to trust by hand."""
        return cls._make(hosts)

    @classmethod
    def _make(cls, hosts: tuple[str, ...]) -> LinkCertificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "h")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def der(self) -> bytes:
        """The certificate as it goes over the wire."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def to_pem(self) -> bytes:
        """Key and certificate in one, for `ssl`, which reads nothing but files."""
        key = self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + self.certificate.public_bytes(serialization.Encoding.PEM)

    def __repr__(self) -> str:
        return "LinkCertificate()"


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
