"""Client tokens: the same token with the same request gets the first answer, with another request an error.

"Ensuring idempotency in Amazon EC2 API requests" (EC2 API reference). A failed request leaves no trace.
"""

import hashlib
import json
from collections.abc import Callable
from functools import wraps

from deploy.sandbox.call import Call, Operation
from deploy.sandbox.errors import AwsError, bad_value


def once(parameter: str, longest: int = 64) -> Callable[[Operation], Operation]:
    """Make an operation idempotent for a token parameter of at most `longest` characters."""

    def decorate(function: Operation) -> Operation:
        @wraps(function)
        def wrapped(call: Call, parameters: dict) -> dict:
            token = parameters.get(parameter)
            if not token:
                return function(call, parameters)
            if len(token) > longest or not token.isascii():
                raise bad_value(f"Invalid value for {parameter}: at most {longest} ASCII characters")
            rest = {k: v for k, v in parameters.items() if k != parameter}
            print_ = hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()
            known = call.here.tokens.get((call.operation, token))
            if known is None:
                known = call.here.tokens[call.operation, token] = (print_, function(call, parameters))
            if known[0] != print_:
                text = "The client token was used with other parameters before."
                raise AwsError("IdempotentParameterMismatch", text)
            return known[1]

        return wrapped

    return decorate
