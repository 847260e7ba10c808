"""The error that every emulated operation raises, and the few that many modules share.

Codes and texts are those of "Error codes for the Amazon EC2 API" (EC2 API reference).
"""


class AwsError(Exception):
    """An answer that is an error: `code` as AWS spells it, `message` for people, `status` the HTTP status.

    `reason` is the member Reason of the EBS direct APIs' errors.
    """

    def __init__(self, code: str, message: str, status: int = 400, reason: str | None = None):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.reason = code, message, status, reason


NOT_FOUND = {
    "vol": ("InvalidVolume.NotFound", "The volume '{}' does not exist."),
    "snap": ("InvalidSnapshot.NotFound", "The snapshot '{}' does not exist."),
    "i": ("InvalidInstanceID.NotFound", "The instance ID '{}' does not exist"),
    "ami": ("InvalidAMIID.NotFound", "The image id '[{}]' does not exist"),
    "replacevol": ("InvalidReplaceRootVolumeTaskId.NotFound", "The task '{}' does not exist."),
}

MALFORMED = {
    "vol": "InvalidParameterValue",
    "snap": "InvalidSnapshotID.Malformed",
    "i": "InvalidInstanceID.Malformed",
    "ami": "InvalidAMIID.Malformed",
}


def missing(prefix: str, identifier: str) -> AwsError:
    """The error for an id that names nothing: malformed when it does not even look like one."""
    if not identifier.startswith(prefix + "-"):
        return AwsError(MALFORMED.get(prefix, "InvalidParameterValue"), f'Invalid id: "{identifier}"')
    code, text = NOT_FOUND[prefix]
    return AwsError(code, text.format(identifier))


def bad_value(message: str) -> AwsError:
    return AwsError("InvalidParameterValue", message)


def bad_combination(message: str) -> AwsError:
    return AwsError("InvalidParameterCombination", message)


def required(parameters: dict, name: str):
    """The value of a parameter that must be there; MissingParameter otherwise."""
    value = parameters.get(name)
    if value in (None, ""):
        raise AwsError("MissingParameter", f"The request must contain the parameter {name}")
    return value
