from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.certificates import LinkCertificate


def test_a_certificate_says_nothing_and_is_new_each_time() -> None:
    one, two = LinkCertificate.generate(), LinkCertificate.generate()
    assert one.der != two.der
    for each in (one, two):
        certificate = x509.load_der_x509_certificate(each.der)
        assert certificate.subject.rfc4514_string() == "CN=h"
        assert certificate.issuer == certificate.subject
        assert certificate.not_valid_before_utc.year == 2020
        assert certificate.not_valid_after_utc.year == 2099
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        assert len(list(certificate.extensions)) == 0
        certificate.verify_directly_issued_by(certificate)


def test_its_key_is_in_no_repr() -> None:
    assert repr(LinkCertificate.generate()) == "LinkCertificate()"


def test_one_for_browsers_names_its_hosts() -> None:
    made = LinkCertificate.for_hosts("127.0.0.1", "localhost", "::1")
    certificate = x509.load_der_x509_certificate(made.der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["127.0.0.1", "::1"]
