"""What a role may do, as IAM itself judges it: nothing is tried, and no resource is named that exists.

SimulatePrincipalPolicy (IAM API reference): one result an action, its decision the most restrictive of its resources'.
Keys of conditions are answered as our calls would have them: what is made carries our tag, what is deleted too. Service
control policies are considered; policies of buckets, keys and vaults are not, so that a granted action may still be
refused there. A denial that hangs on a key without a value says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import SnapfleetError
from tasks.resources import TYPES
from tasks.resources.rights import CHECK_ACTIONS, FEATURES, actions_of, granted, is_deletion, limits_of
from workers.aws.errors import translate
from workers.aws.session import Clients
from workers.driver import TAG_INSTALLATION, Check

_ASKED_AT_ONCE = 100  # results in one page (MaxItems, IAM API reference)
_SAMPLE = "snapfleet-check"


def completed(clients: Clients, types: Sequence[str], tried: Iterable[Check]) -> list[Check]:
    """`tried`, and an answer about every other action that these types need of this identity, each once.

    What was tried and stayed open is asked as well. Where IAM may not be asked it stays 'unknown', with the reason.
    """
    seen = list(tried)
    asked = {one.name: one for one in _simulated(clients, types, seen)}
    mine = [asked.pop(one.name, one) if _better(asked.get(one.name), one) else one for one in seen]
    for one in seen:
        asked.pop(one.name, None)
    return [*mine, *asked.values()]


def check_named(clients: Clients, rights: Mapping[str, Mapping[str, str]], what: str) -> list[Check]:
    """What IAM says of actions on resources that are named: by ARN pattern, each action with what does not work without
    it. `what` says of what the resources are."""
    found: list[Check] = []
    try:
        arn = _role(clients)
        for pattern, actions in rights.items():
            answer = clients.read("iam").simulate_principal_policy(
                PolicySourceArn=arn,
                ActionNames=sorted(actions),
                ResourceArns=[pattern.replace("*", _SAMPLE)],
                MaxItems=_ASKED_AT_ONCE,
            )
            verdicts = {one["EvalActionName"]: one["EvalDecision"] for one in answer["EvaluationResults"]}
            found += [_named(one, verdicts.get(one, ""), f"{what}: {loss}") for one, loss in sorted(actions.items())]
    except (BotoCoreError, ClientError) as error:
        why = f"{what}: {_unasked(translate(error, operation='iam:SimulatePrincipalPolicy'))}"
        return [Check(action, "unknown", why) for actions in rights.values() for action in sorted(actions)]
    return found


def _named(action: str, decision: str, text: str) -> Check:
    if decision == "allowed":
        return Check(action, "ok")
    return Check(action, "missing" if decision else "unknown", f"Without {action}, of {text}.")


def _better(asked: Check | None, tried: Check) -> bool:
    return tried.outcome == "unknown" and asked is not None and asked.outcome != "unknown"


def _simulated(clients: Clients, types: Sequence[str], tried: Sequence[Check]) -> list[Check]:
    decided = {check.name for check in tried if check.outcome != "unknown"}
    wanted: dict[str, str] = {}
    for duty in clients.account.duties:
        for action in granted((TYPES[name] for name in types if name in TYPES), duty):
            if not clients.account.may_delete and is_deletion(action):
                continue
            if action not in decided and action not in CHECK_ACTIONS:
                wanted.setdefault(action, duty)
    if not wanted:
        return []
    try:
        arn = _role(clients)
        verdicts = _ask(clients, arn, wanted)
    except (BotoCoreError, ClientError) as error:
        refused = translate(error, operation="iam:SimulatePrincipalPolicy")
        return [Check(action, "unknown", _unasked(refused)) for action in wanted]
    return [_check(action, verdicts.get(action), types) for action in sorted(wanted)]


def _role(clients: Clients) -> str:
    """The ARN of whoever we are: a role's own, since a session's lacks the path."""
    arn = str(clients.read("sts").get_caller_identity()["Arn"])
    if ":assumed-role/" not in arn:
        return arn
    return str(clients.read("iam").get_role(RoleName=arn.split("/")[1])["Role"]["Arn"])


def _ask(clients: Clients, arn: str, wanted: dict[str, str]) -> dict[str, dict[str, Any]]:
    iam, groups = clients.read("iam"), dict[tuple[str, ...], list[str]]()
    tag = clients.account.installation or _SAMPLE
    for action, duty in wanted.items():
        patterns = {one for limit in limits_of(action, duty) for one in limit.resources}
        groups.setdefault(tuple(sorted(patterns)), []).append(action)
    found: dict[str, dict[str, Any]] = {}
    for patterns_of, actions in groups.items():
        named = {} if patterns_of == ("*",) else {"ResourceArns": [_sample(clients, one) for one in patterns_of]}
        for start in range(0, len(actions), _ASKED_AT_ONCE):
            some = actions[start : start + _ASKED_AT_ONCE]
            answer = iam.simulate_principal_policy(
                PolicySourceArn=arn, ActionNames=some, ContextEntries=_context(tag), MaxItems=_ASKED_AT_ONCE, **named
            )
            found |= {one["EvalActionName"]: one for one in answer["EvaluationResults"]}
    return found


def _sample(clients: Clients, pattern: str) -> str:
    """A resource that the pattern takes, in this region."""
    number, partition = clients.number(), clients.read("sts").meta.partition
    named = pattern.format(partition=partition, account=number)
    return named.replace(":*:", f":{clients.region}:", 1).replace("*", _SAMPLE)


def _context(tag: str) -> list[dict[str, Any]]:
    texts = {
        f"aws:ResourceTag/{TAG_INSTALLATION}": tag,
        f"aws:RequestTag/{TAG_INSTALLATION}": tag,
        "ec2:CreateAction": "CreateSnapshot",
        "iam:PassedToService": "backup.amazonaws.com",
        "iam:AWSServiceName": "fsx.amazonaws.com",
    }
    entries = [
        {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for name, value in texts.items()
    ]
    flag = {"ContextKeyName": "kms:GrantIsForAWSResource", "ContextKeyValues": ["true"], "ContextKeyType": "boolean"}
    return [*entries, flag]


def _check(action: str, verdict: dict[str, Any] | None, types: Sequence[str]) -> Check:
    if verdict is None:
        return Check(action, "unknown", "IAM said nothing about it.")
    if verdict["EvalDecision"] == "allowed":
        return Check(action, "ok")
    if verdict.get("MissingContextValues"):
        return Check(action, "unknown", f"It hangs on {', '.join(verdict['MissingContextValues'])}.")
    return Check(action, "missing", lost(action, types))


def lost(action: str, types: Sequence[str]) -> str:
    """What stops working without an action, by feature and type."""
    features = [
        (feature, [name for name in types if name in TYPES and action in actions_of(TYPES[name], feature)])
        for feature in FEATURES
    ]
    said = "; ".join(f"{feature} ({', '.join(names)})" for feature, names in features if names)
    return f"Without {action} this does not work: {said or 'an account check'}."


def _unasked(refused: SnapfleetError) -> str:
    return f"It can only be asked of IAM, which needs {' and '.join(CHECK_ACTIONS)}. {refused.text}"
