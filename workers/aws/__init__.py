"""AWS: how an account is entered, how its errors are read, and one driver for each service."""

from collections.abc import Callable, Mapping

from workers.aws.dynamodb import DynamoDbDriver
from workers.aws.ec2 import Ec2Driver
from workers.aws.efs import EfsDriver
from workers.aws.fsx import FsxDriver
from workers.aws.rds import AuroraDriver, DocumentDbDriver, RdsDriver
from workers.aws.redshift import RedshiftDriver
from workers.aws.s3 import S3Driver
from workers.aws.session import Sessions
from workers.driver import Driver
from workers.pace import Pace

# Type name -> the driver of its service. The one place where a new service is added (ARCHITECTURE.md).
DRIVERS: Mapping[str, Callable[[Sessions, Pace | None], Driver]] = {
    "instance": Ec2Driver,
    "volume": Ec2Driver,
    "rds": RdsDriver,
    "aurora": AuroraDriver,
    "documentdb": DocumentDbDriver,
    "redshift": RedshiftDriver,
    "dynamodb": DynamoDbDriver,
    "efs": EfsDriver,
    "fsx-lustre": FsxDriver,
    "fsx-ontap": FsxDriver,
    "fsx-windows": FsxDriver,
    "fsx-openzfs": FsxDriver,
    "s3": S3Driver,
}


def build_drivers(sessions: Sessions, pace: Pace | None = None) -> dict[str, Driver]:
    """The drivers by type name; types of one service share theirs. `pace` says how patient they are."""
    built = {make: make(sessions, pace) for make in set(DRIVERS.values())}
    return {name: built[make] for name, make in DRIVERS.items()}
