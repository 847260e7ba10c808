"""What the drivers of DynamoDB, EFS and FSx share: the way through AWS Backup's vaults.

A subclass says what its service's name is there, and has the service's own ways.
"""

from abc import abstractmethod
from collections.abc import Sequence

from tasks.errors import Impossible, Refused
from workers.aws import aws_backup
from workers.aws.aws_backup_points import delete_points, find_points, is_vaulted, present_points, tagged_points
from workers.aws.aws_backup_progress import job_progress
from workers.aws.ec2_copy import same_account
from workers.aws.errors import translated
from workers.aws.service_driver import ServiceDriver
from workers.aws.session import Clients
from workers.driver import (
    Account,
    CopyRequest,
    Deleted,
    Destination,
    Found,
    Operation,
    Part,
    Point,
    Presence,
    Progress,
    Started,
    Tagged,
    untold,
)

_DEFAULT_KEY = (
    "The resource lies under the account's default key, which AWS Backup cannot take to another account: encrypt it "
    "with a customer-managed key."
)


class VaultDriver(ServiceDriver):
    """Implements workers.driver.Driver; safe to be shared by threads."""

    kind = ""  # AWS Backup's name of the service's resources

    # --- what a service has of its own ---

    @abstractmethod
    def _native_progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        """Answers about the service's own operations, by id."""

    def _native_problem(self, _point: Point, _destination: Destination) -> str:
        """'' or why the service's own backups cannot go there."""
        return ""

    def _native_copy(
        self, _source: Clients, _target: Clients, point: Point, _destination: Destination, _request: CopyRequest
    ) -> Started:
        """Begin a copy of the service's own backup."""
        raise Impossible(f"AWS copies no backups of {point.resource.type} outside of AWS Backup.")

    def _native_find(self, _clients: Clients, _key: str) -> list[Found]:
        """The service's own backups under a key."""
        return []

    def _native_present(self, _clients: Clients, parts: Sequence[Part]) -> Presence:
        """Those of the service's own backups that are there."""
        return untold(parts)

    def _native_delete(self, _clients: Clients, part: Part) -> Deleted:
        """Delete one of the service's own backups."""
        raise Refused(f"{part.external_id} is no recovery point of AWS Backup.", code="not-ours")

    # --- the driver ---

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        problem = aws_backup.plan_problem(point, destination)
        if problem:
            return problem
        if all(is_vaulted(part) for part in point.parts):
            across = not same_account(point.account, destination.account)
            return _DEFAULT_KEY if across and any(part.attributes.get("default_key") for part in point.parts) else ""
        return self._native_problem(point, destination)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        aws_backup.refuse(self.plan_copy_problem(point, destination))
        source = self._at(point.account, point.region)
        target = self._at(destination.account, destination.region)
        with translated("a copy"):
            if not all(is_vaulted(part) for part in point.parts):
                return self._native_copy(source, target, point, destination, request)
            copying = aws_backup.VaultCopy(source, target, destination, request, self._pace)
            begun = [aws_backup.start_copy(copying, part) for part in point.parts]
        return Started(
            operations=tuple(operation for operation, _, _ in begun),
            warnings=tuple(warning for _, lost, _ in begun for warning in lost),
            adopted=all(known for _, _, known in begun),
        )

    def _progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        answers = job_progress(clients, operations, self.kind, self._pace)
        return answers | self._native_progress(clients, operations)

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        clients = self._at(account, region)
        with translated("a look-up"):
            return self._native_find(clients, key) + find_points(clients, self.kind, key, self._pace)

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:
        """Of what does not say which way it was backed up nothing is told."""
        clients = self._at(account, region)
        ways = [str(part.attributes.get("way", "")) for part in parts]
        native = [part for part, way in zip(parts, ways, strict=True) if way == "native"]
        others = (part for part, way in zip(parts, ways, strict=True) if way not in ("native", "vault"))
        with translated("a look for recovery points"):
            vaulted = present_points(clients, self.kind, [part for part in parts if is_vaulted(part)])
            return {**untold(others), **vaulted, **self._native_present(clients, native)}

    def tagged_one_by_one(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """Recovery points in the account's vault. The service's own are listed with their tags, or have none."""
        with translated("a look for what is ours"):
            return self._vaulted(self._at(account, region), installation)

    def _vaulted(self, clients: Clients, installation: str) -> list[Tagged]:
        return tagged_points(clients, self.kind, installation, type_=self.types[0])

    def _delete(self, clients: Clients, points: list[Point]) -> list[Deleted]:
        return delete_points(clients, points, self._native_delete)
