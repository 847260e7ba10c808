"""AWS KMS as a key service: it wraps a repository's master key under a key that never leaves it."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from workers.repository.errors import StoreUnavailable

# Codes with which KMS says that it will not, now or ever (AWS KMS API reference, Encrypt and Decrypt).
_NEVER = {
    "AccessDeniedException",
    "DisabledException",
    "IncorrectKeyException",
    "InvalidCiphertextException",
    "InvalidKeyUsageException",
    "KMSInvalidStateException",
    "NotFoundException",
}


class Kms:
    """Implements workers.repository.keys.KeyService over a boto3 client of KMS.

    `key` is needed to encrypt: a ciphertext of KMS names the key that opens it. Given, it also decrypts nothing that
    another key has encrypted.
    """

    def __init__(self, client: Any, key: str = "") -> None:
        self._client, self._key = client, key
        self._named = key

    @property
    def key(self) -> str:
        """The key's ARN: as it was given, or as KMS named it at the last decryption; '' before."""
        return self._named

    def encrypt(self, secret: bytes, context: dict[str, str]) -> bytes:
        answer = self._asked(lambda: self._client.encrypt(KeyId=self._key, Plaintext=secret, EncryptionContext=context))
        return bytes(answer["CiphertextBlob"])

    def decrypt(self, blob: bytes, context: dict[str, str]) -> bytes:
        only = {"KeyId": self._key} if self._key else {}
        answer = self._asked(lambda: self._client.decrypt(CiphertextBlob=blob, EncryptionContext=context, **only))
        self._named = str(answer.get("KeyId", "")) or self._named
        return bytes(answer["Plaintext"])

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _NEVER:
                raise PermissionError(f"KMS refuses ({code}).") from None
            raise StoreUnavailable(f"KMS did not do it ({code}).") from None
        except BotoCoreError as error:
            raise StoreUnavailable(f"KMS did not answer ({type(error).__name__}).") from None
