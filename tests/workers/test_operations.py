"""Operations as rows: where each is asked about."""

from dataclasses import replace

from tasks.catalog import Account, Operation, transaction
from tests.workers.test_copy import copy_job
from tests.workers.world import AWAY, HOME, World
from workers import operations
from workers.driver import Operation as Begun


def test_a_copy_that_its_source_makes_is_asked_about_there_and_others_where_the_job_is(world: World) -> None:
    """Feature 42: AWS Backup tells of a copy in the account and region that it was begun in."""
    with transaction():
        vault = Account.create(name="vault", regions=[AWAY])
    job = copy_job(world, world.good_point(), account=vault)
    prod = world.context.account(world.account)
    begun = [
        Begun("copy-job", "job-1", prod, HOME),
        Begun("copy", "snap-1", replace(prod, name="vault"), AWAY),
    ]
    with transaction():
        operations.begin(world.context, job, "efs", begun)
        rows = {row.external_id: (row.account.name, row.region) for row in Operation.select()}
    assert rows["job-1"] == (prod.name, HOME)
    assert rows["snap-1"] == ("vault", AWAY)
