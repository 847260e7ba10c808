"""Signatures are those the SDK would make."""

import hashlib
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.repository.sigv4 import Credentials, Signer

pytestmark = pytest.mark.unit

AT = datetime(2026, 11, 22, 12, 30, 5, tzinfo=UTC)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)


class Fixed(SigV4Auth):
    """The SDK's signer at a given instant."""

    def sign(self, request: AWSRequest) -> str:
        request.context["timestamp"] = AT.strftime("%Y%m%dT%H%M%SZ")
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        request.headers["X-Amz-Security-Token"] = self.credentials.token
        request.headers["x-amz-content-sha256"] = self.payload(request)
        return self.signature(self.string_to_sign(request, self.canonical_request(request)), request)


@given(st.dictionaries(TEXT, TEXT, max_size=3), st.binary(max_size=50), st.sampled_from(["GET", "PUT", "POST"]))
@settings(deadline=None, max_examples=60)
def test_a_signature_is_the_sdks(query: dict[str, str], body: bytes, method: str) -> None:
    who = Credentials("AKIDEXAMPLE", "secret/key+", "token")
    digest = hashlib.sha256(body).hexdigest()
    target, headers = Signer(lambda: who, "ebs", "eu-west-1").sign(
        method, "/snapshots/snap-1/blocks/7", query, {"host": "ebs.eu-west-1.amazonaws.com"}, digest, AT
    )
    url = "https://ebs.eu-west-1.amazonaws.com/snapshots/snap-1/blocks/7"
    request = AWSRequest(method, url, data=body, params=query, headers={"host": "ebs.eu-west-1.amazonaws.com"})
    signer = Fixed(SdkCredentials(who.access_key, who.secret_key, who.token), "ebs", "eu-west-1")
    assert headers["authorization"].endswith(f"Signature={signer.sign(request)}")
    assert target.startswith("/snapshots/snap-1/blocks/7")


def test_secrets_do_not_show_themselves() -> None:
    assert "secret" not in repr(Credentials("AKID", "secret", "token"))
