"""Sessions and rights. "AssumeRole": STS API reference; "Error codes": EC2 API reference."""

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.deploy.estate import HOME, PROD, refused, snapshot, volume

ROLE = f"arn:aws:iam::{PROD}:role/backup"
MANAGEMENT = "333333333333"


def test_a_role_needs_its_external_id_and_its_trust(sandbox):
    """AWS, "How to use an external ID" (IAM user guide): a wrong or missing one, or no such role, is AccessDenied."""
    sandbox.role(ROLE, "right", trusted=[MANAGEMENT])
    sts = sandbox.client(MANAGEMENT, service="sts")
    asked = {"RoleArn": ROLE, "RoleSessionName": "test"}
    refused("AccessDenied", sts.assume_role, **asked)
    refused("AccessDenied", sts.assume_role, ExternalId="wrong", **asked)
    refused("AccessDenied", sts.assume_role, RoleArn=ROLE + "x", RoleSessionName="test", ExternalId="right")
    stranger = sandbox.client("444444444444", service="sts")
    refused("AccessDenied", stranger.assume_role, ExternalId="right", **asked)
    refused("ValidationError", sts.assume_role, RoleArn=ROLE, RoleSessionName="has space", ExternalId="right")
    refused("ValidationError", sts.assume_role, ExternalId="right", DurationSeconds=7200, **asked)
    sandbox.role_client(ROLE, "right", HOME).describe_volumes()


def test_a_session_acts_in_the_roles_account(sandbox):
    """GetCallerIdentity: the assumed-role ARN of the session; resources are the account's."""
    sandbox.role(ROLE, "right")
    who = sandbox.role_client(ROLE, "right", HOME, "sts").get_caller_identity()
    assert (who["Account"], who["Arn"]) == (PROD, f"arn:aws:sts::{PROD}:assumed-role/backup/test")
    made = volume(sandbox.role_client(ROLE, "right", HOME))
    assert sandbox.client(PROD).describe_volumes(VolumeIds=[made])["Volumes"][0]["VolumeId"] == made


def test_a_session_ends(sandbox):
    """AWS, "Error codes": RequestExpired in EC2, ExpiredToken in STS, once the session is over."""
    sandbox.role(ROLE, None)
    held = sandbox.assume(ROLE, DurationSeconds=900)
    given = (held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"], HOME)
    ec2 = sandbox.client_with(*given)
    ec2.describe_volumes()
    sandbox.advance(901)
    refused("RequestExpired", ec2.describe_volumes)
    refused("ExpiredToken", sandbox.client_with(*given, "sts").get_caller_identity)


@pytest.mark.parametrize(
    ("service", "code", "ask"),
    [
        ("ec2", "AuthFailure", lambda c: c.describe_volumes()),
        ("sts", "InvalidClientTokenId", lambda c: c.get_caller_identity()),
        ("kms", "UnrecognizedClientException", lambda c: c.list_keys()),
    ],
)
def test_unknown_keys_and_wrong_secrets_are_refused(sandbox, service, code, ask):
    """AWS, "Common errors": AuthFailure, InvalidClientTokenId, UnrecognizedClientException; signatures are checked."""
    refused(code, ask, c=sandbox.client_with("AKIAUNKNOWN", "x", None, HOME, service))
    wrong = sandbox.client_with("AKIASANDBOX0" + PROD, "not the secret", None, HOME, service)
    refused("AuthFailure" if service == "ec2" else "SignatureDoesNotMatch", ask, c=wrong)


def test_a_denied_action_is_unauthorized_and_a_dry_run_says_so(sandbox):
    """DryRun: DryRunOperation when permitted, UnauthorizedOperation when not; nothing is done either way."""
    sandbox.role(ROLE, None, denied=["ec2:Delete*"])
    ec2, root = sandbox.role_client(ROLE, None, HOME), sandbox.client(PROD)
    snap = snapshot(root, volume(root))
    refused("UnauthorizedOperation", ec2.delete_snapshot, SnapshotId=snap)
    refused("UnauthorizedOperation", ec2.delete_snapshot, SnapshotId=snap, DryRun=True)
    refused("DryRunOperation", ec2.create_volume, AvailabilityZone="us-east-1a", Size=1, DryRun=True)
    refused("InvalidVolume.NotFound", ec2.create_snapshot, VolumeId="vol-00000000000000000", DryRun=True)
    assert len(sandbox.state(PROD, HOME)["volumes"]) == 1
    assert sandbox.state(PROD, HOME)["snapshots"] == [snap]


def test_rights_can_be_simulated(sandbox):
    """SimulatePrincipalPolicy: allowed, explicitDeny or implicitDeny for each action."""
    sandbox.role(ROLE, None, allowed=["ec2:*", "iam:*"], denied=["ec2:DeleteSnapshot"])
    iam = sandbox.role_client(ROLE, None, HOME, "iam")
    names = ["ec2:CreateSnapshot", "ec2:DeleteSnapshot", "kms:CreateGrant"]
    found = iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=names)["EvaluationResults"]
    assert [r["EvalDecision"] for r in found] == ["allowed", "explicitDeny", "implicitDeny"]
    assert iam.get_role(RoleName="backup")["Role"]["Arn"] == ROLE


def test_the_printed_environment_reaches_the_management_account(sandbox):
    """The endpoint is plain configuration: AWS_ENDPOINT_URL and keys, as the AWS SDKs document them."""
    variables = sandbox.environment
    session = boto3.session.Session(
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    )
    who = session.client("sts", endpoint_url=variables["AWS_ENDPOINT_URL"]).get_caller_identity()
    assert who["Account"] == MANAGEMENT


def test_an_unsigned_request_is_refused(sandbox):
    """AWS, "Common errors": MissingAuthenticationToken for a request without a signature."""
    from botocore import UNSIGNED

    with pytest.raises(ClientError, match="MissingAuthenticationToken"):
        sandbox.client(PROD, signature_version=UNSIGNED).describe_volumes()
