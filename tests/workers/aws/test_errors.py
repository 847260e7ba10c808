"""AWS's refusals become verdicts that the rest of the product can act on, and texts that may be shown."""

from datetime import timedelta

import pytest
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import errors
from tasks.errors import Retry
from workers.aws.errors import outcome_code, shorten, translate, translated

pytestmark = pytest.mark.unit


def answer(
    code: str, message: str = "because", operation: str = "CreateSnapshot", status: int = 400
) -> sdk.ClientError:
    return sdk.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )


@pytest.mark.parametrize(
    ("code", "kind", "retry"),
    [
        ("RequestLimitExceeded", errors.Throttled, Retry.FREE),
        ("ThrottlingException", errors.Throttled, Retry.FREE),
        ("ResourceLimitExceeded", errors.QuotaReached, Retry.FREE),
        ("ConcurrentSnapshotLimitExceeded", errors.QuotaReached, Retry.FREE),
        ("SnapshotCreationPerVolumeRateExceeded", errors.QuotaReached, Retry.FREE),
        ("SomeNewLimitExceeded", errors.QuotaReached, Retry.FREE),
        ("IncorrectState", errors.NotReady, Retry.ATTEMPT),
        ("InsufficientInstanceCapacity", errors.NotReady, Retry.ATTEMPT),
        ("InternalError", errors.Transient, Retry.ATTEMPT),
        ("Server.InternalError", errors.Transient, Retry.ATTEMPT),
        ("RequestExpired", errors.CredentialsExpired, Retry.ATTEMPT),
        ("ExpiredToken", errors.CredentialsExpired, Retry.ATTEMPT),
        ("AuthFailure", errors.CredentialsRefused, Retry.NEVER),
        ("InvalidClientTokenId", errors.CredentialsRefused, Retry.NEVER),
        ("UnauthorizedOperation", errors.Denied, Retry.NEVER),
        ("Client.UnauthorizedOperation", errors.Denied, Retry.NEVER),
        ("InvalidVolume.NotFound", errors.Gone, Retry.NEVER),
        ("InvalidSnapshot.NotFound", errors.Gone, Retry.NEVER),
        ("InvalidSnapshot.InUse", errors.InUse, Retry.ATTEMPT),
        ("InvalidParameterValue", errors.Invalid, Retry.NEVER),
        ("InvalidVolumeID.Malformed", errors.Invalid, Retry.NEVER),
        ("InvalidDestinationKmsKey", errors.Invalid, Retry.NEVER),
        ("UnsupportedOperation", errors.Impossible, Retry.NEVER),
        ("TableNotFoundException", errors.Gone, Retry.NEVER),
        ("ContinuousBackupsUnavailableException", errors.NotReady, Retry.ATTEMPT),
        ("BackupInUseException", errors.InUse, Retry.ATTEMPT),
        ("FileSystemNotFound", errors.Gone, Retry.NEVER),
        ("BackupNotFound", errors.Gone, Retry.NEVER),
        ("BackupInProgress", errors.NotReady, Retry.ATTEMPT),
        ("BackupBeingCopied", errors.InUse, Retry.ATTEMPT),
        ("ServiceLimitExceeded", errors.QuotaReached, Retry.FREE),
        ("LimitExceededException", errors.QuotaReached, Retry.FREE),
        ("InvalidSourceKmsKey", errors.Invalid, Retry.NEVER),
        ("InvalidResourceStateException", errors.NotReady, Retry.ATTEMPT),
    ],
)
def test_each_code_has_one_verdict(code: str, kind: type, retry: Retry) -> None:
    """Feature 31: retries follow the meaning of the refusal, and throttling burns no attempt."""
    found = translate(answer(code))
    assert (type(found), found.retry) == (kind, retry)


def test_an_unknown_code_passes_when_the_server_is_to_blame_and_not_when_we_are() -> None:
    assert isinstance(translate(answer("Strange", status=503)), errors.Transient)
    assert isinstance(translate(answer("Strange", status=400)), errors.Invalid)


def test_a_refused_role_isolates_the_account_and_a_refused_action_does_not() -> None:
    assert isinstance(translate(answer("AccessDenied", operation="AssumeRole")), errors.CredentialsRefused)
    assert isinstance(translate(answer("AccessDenied", operation="DescribeKey")), errors.Denied)


def test_somebody_elses_image_is_a_refused_action_though_ec2_calls_it_an_authentication_failure() -> None:
    assert isinstance(translate(answer("AuthFailure", "Not authorized for images: [ami-1]")), errors.Denied)


def test_a_region_that_is_not_enabled_says_so() -> None:
    found = translate(answer("OptInRequired"))
    assert (found.code, "Enable the region" in found.advice) == ("region-not-enabled", True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sdk.ReadTimeoutError(endpoint_url="https://ec2"), errors.Transient),
        (sdk.ConnectTimeoutError(endpoint_url="https://ec2"), errors.Transient),
        (sdk.EndpointConnectionError(endpoint_url="https://ec2"), errors.Transient),
        (sdk.ConnectionClosedError(endpoint_url="https://ec2"), errors.Transient),
        (sdk.SSLError(endpoint_url="https://ec2", error="bad"), errors.Transient),
        (ResponseParserError("not XML"), errors.Transient),
        (sdk.NoCredentialsError(), errors.CredentialsRefused),
        (sdk.ProfileNotFound(profile="p"), errors.CredentialsRefused),
        (sdk.ParamValidationError(report="wrong"), errors.Invalid),
        (sdk.DataNotFoundError(data_path="x"), errors.Internal),
    ],
)
def test_failures_of_the_sdk_join_the_family(error: Exception, kind: type) -> None:
    assert type(translate(error, operation="DescribeVolumes")) is kind


def test_a_proxys_password_does_not_come_out() -> None:
    error = sdk.ProxyConnectionError(proxy_url="http://robot:hunter2@proxy:8080", error="refused")
    assert "hunter2" not in str(translate(error, operation="DescribeVolumes"))


def test_where_a_create_may_have_happened_the_next_look_waits_for_the_tags_to_appear() -> None:
    """Feature 31: a lost answer never makes a second snapshot."""
    error = sdk.ReadTimeoutError(endpoint_url="https://ec2")
    guarded = translate(error, operation="CreateSnapshots", guard=timedelta(seconds=90))
    assert (guarded.code, guarded.wait) == ("unknown-effect", timedelta(seconds=90))
    refused = translate(answer("RequestLimitExceeded"), guard=timedelta(seconds=90))
    assert refused.wait == errors.Throttled.wait


def test_the_edge_hides_the_sdks_exception_and_lets_the_family_through() -> None:
    with pytest.raises(errors.Gone) as caught, translated():
        raise answer("InvalidVolume.NotFound")
    assert caught.value.__suppress_context__
    with pytest.raises(errors.NotReady), translated():
        raise errors.NotReady("wait")


def test_the_encoded_blob_and_control_characters_are_taken_out_of_a_message() -> None:
    text = "You may not.\x1b[31m\n Encoded authorization failure message: abcDEF_-123456"
    assert shorten(text) == "You may not. [31m"


@settings(deadline=None)
@given(st.text())
def test_a_message_of_any_kind_becomes_one_short_printable_line(text: str) -> None:
    short = shorten(text)
    assert len(short) <= 300
    assert not any(character in short for character in "\n\r\x00\x1b\x7f\u202e\u2028")


def test_outcomes_for_metrics_are_short_words() -> None:
    assert outcome_code({"ResponseMetadata": {}}, None) == "ok"
    assert outcome_code({"Error": {"Code": "AuthFailure"}}, None) == "AuthFailure"
    assert outcome_code(None, sdk.ReadTimeoutError(endpoint_url="x")) == "ReadTimeoutError"
    assert outcome_code(None, answer("AccessDenied")) == "AccessDenied"
    assert len(outcome_code({"Error": {"Code": "x" * 999}}, None)) == 64
