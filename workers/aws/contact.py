"""Can an account be entered at all, and is it the one that is configured?"""

from botocore.exceptions import BotoCoreError, ClientError

from workers.aws.errors import translate
from workers.aws.session import Clients
from workers.driver import Check


def contact(clients: Clients) -> Check:
    """'ok' with the account's number, or 'missing' with the reason: then nothing else can be asked."""
    try:
        number = str(clients.read("sts").get_caller_identity()["Account"])
    except (BotoCoreError, ClientError) as error:
        return Check("contact", "missing", str(translate(error, operation="GetCallerIdentity")))
    wanted = clients.account.number
    if wanted and wanted != number:
        return Check("contact", "missing", f"The role leads into account {number}, but {wanted} is configured.")
    return Check("contact", "ok", f"account {number}")
