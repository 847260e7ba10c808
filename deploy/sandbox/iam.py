"""SimulatePrincipalPolicy for the sandbox's roles; everything else of IAM is moto's.

"SimulatePrincipalPolicy" (IAM API reference): one result an action, with the most restrictive decision.
"""

from fnmatch import fnmatchcase

from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.sts import Role


def decision(role: Role, action: str) -> str:
    """`explicitDeny`, `allowed` or `implicitDeny`."""
    if any(fnmatchcase(action, p) for p in role.denied):
        return "explicitDeny"
    return "allowed" if role.allows(action) else "implicitDeny"


@operation("iam", "SimulatePrincipalPolicy")
def simulate_principal_policy(call: Call, parameters: dict) -> dict:
    arn = required(parameters, "PolicySourceArn")
    role = call.world.directory.roles.get(arn)
    if role is None or arn.split(":")[4] != call.account:
        raise AwsError("NoSuchEntity", f"The role {arn} cannot be found.", 404)
    resources = parameters.get("ResourceArns") or ["*"]
    rows = [
        {
            "EvalActionName": action,
            "EvalResourceName": resources[0],
            "EvalDecision": decision(role, action),
            "MatchedStatements": [],
            "MissingContextValues": [],
        }
        for action in required(parameters, "ActionNames")
    ]
    start, limit = int(parameters.get("Marker") or 0), parameters.get("MaxItems") or 100
    more = start + limit < len(rows)
    answer = {"EvaluationResults": rows[start : start + limit], "IsTruncated": more}
    return {**answer, "Marker": str(start + limit)} if more else answer
