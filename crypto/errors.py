"""What can go wrong in crypto: one root, and no hint of why something did not open."""


class CryptoError(Exception):
    """A cryptographic operation failed."""


class OpenError(CryptoError):
    """This does not open with this key: it is damaged, forged or meant for somebody else."""


class SignatureError(CryptoError):
    """The signature is not valid for these bytes and this key."""


class KeyFileError(CryptoError):
    """The key file cannot be used: wrong passphrase, or the file is damaged."""


class BadKeyError(CryptoError):
    """A public key that another party gave is not a usable key."""


class PairingError(CryptoError):
    """The two sides of a pairing have different keys: another code, or somebody in between."""


class FormError(CryptoError):
    """These bytes are no descriptor and no delegation, or one that nobody may make."""


class TooLongError(CryptoError):
    """What was to be sealed does not fit the format; split it."""
