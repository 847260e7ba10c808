"""`snapfleet iam`: the rights that roles need, as policies and as a template."""

import click
import yaml

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.iam import iam_policies, installation_id, template
from tasks.resources.rights import DUTIES


@group(example="snapfleet iam policy prod")
def iam(at: Context) -> None:
    """Print the rights that roles need.

    Made from what this version's drivers call, so that an upgrade may need more; no role both creates and deletes.
    """
    at.output.line("See `snapfleet iam policy ACCOUNT` and `snapfleet iam template`.")


@command(example="snapfleet iam policy prod --role cleanup", name="policy")
@click.argument("account")
@click.option("--role", type=click.Choice(DUTIES), help="Only this role's; without, all three.")
@click.option("--all", "every_type", is_flag=True, help="For every type, not only for those that policies use.")
def _policy(at: Context, account: str, role: str | None, every_type: bool) -> None:
    """Print IAM policies for an account's roles.

    snapshot backs up, copies and follows (role_arn), cleanup deletes what has aged and takes back failed restores
    (cleanup_role_arn), restore makes things from recovery points (restore_role_arn). An account with role_arn alone
    needs all of them there. With --role and one policy it is printed alone, ready for `aws iam put-role-policy`.
    """
    at.open()
    found = iam_policies(account, [role] if role else DUTIES, every_type=every_type)
    at.output.value(found[0]["policy"] if role and len(found) == 1 and not at.output.json else found)


@command(example="snapfleet iam template > roles.yaml", name="template")
def _template(at: Context) -> None:
    """Print a CloudFormation template with the three roles.

    For every type and for this installation; deploy/cloud/README.md tells how it is rolled out to many accounts.
    """
    at.open()
    made = template(installation_id())
    if at.output.json:
        at.output.value(made)
    else:
        click.echo(yaml.safe_dump(made, sort_keys=False, width=110), nl=False)


for _verb in (_policy, _template):
    iam.add_command(_verb)
