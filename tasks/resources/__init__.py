"""Resource types and what can be done with each: the guide's matrix as data, one file a service.

Admission, `apply`, `doctor` and `capabilities` read this table; drivers are bound to its names. TABLE has every type
that there is to be; TYPES those that this version has a driver for.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tasks.resources import azure, azure_sql, documentdb, dynamodb, ec2, efs, fsx, rds, redshift, s3
from tasks.resources.kind import Option, ResourceType, Rule

__all__ = ["TABLE", "TYPES", "Option", "ResourceType", "Rule", "type_of"]

_SERVICES = (ec2, rds, documentdb, redshift, dynamodb, efs, fsx, s3, azure, azure_sql)
TABLE: Mapping[str, ResourceType] = MappingProxyType({kind.name: kind for one in _SERVICES for kind in one.KINDS})
TYPES: Mapping[str, ResourceType] = MappingProxyType({name: kind for name, kind in TABLE.items() if kind.built})


def type_of(name: str) -> ResourceType:
    """The type called `name`. Raises KeyError with the known names when there is none."""
    try:
        return TYPES[name]
    except KeyError:
        raise KeyError(f"no resource type {name!r}; known are {', '.join(sorted(TYPES))}") from None
