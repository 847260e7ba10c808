"""Fixtures of the engine's tests."""

from tests.azurite import azurite
from tests.workers.repository.servers import moto_endpoint, thin

__all__ = ["azurite", "moto_endpoint", "thin"]
