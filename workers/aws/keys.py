"""Which KMS key is an account's own default key of a service: snapshots under it can never be shared."""

from botocore.exceptions import BotoCoreError, ClientError

from workers.aws.session import Clients

_ALIAS = "alias/aws/ebs"


class DefaultKeys:
    """The ARN behind an alias such as aws/ebs for each account and region, asked once: it never changes."""

    def __init__(self, alias: str = _ALIAS) -> None:
        self._alias = alias
        self._known: dict[tuple[str, str], str] = {}

    def of(self, clients: Clients) -> str | None:
        """The key's ARN, '' when the account has none there, None when the role may not ask: then nobody knows."""
        place = (clients.account.name, clients.region)
        if place in self._known:
            return self._known[place]
        try:
            arn = str(clients.read("kms").describe_key(KeyId=self._alias)["KeyMetadata"]["Arn"])
        except ClientError as error:
            return "" if error.response.get("Error", {}).get("Code") == "NotFoundException" else None
        except BotoCoreError:
            return None
        self._known[place] = arn
        return arn
