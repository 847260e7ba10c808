"""Fixtures of the engine's tests."""

from tests.workers.repository.servers import moto_endpoint, thin

__all__ = ["moto_endpoint", "thin"]
