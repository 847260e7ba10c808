"""Put a sandbox together: world, cloud, control plane and server, warmed up and seeded."""

from deploy.sandbox import demo, kms, network, wire
from deploy.sandbox.baseline import lay
from deploy.sandbox.config import Config
from deploy.sandbox.control import Control
from deploy.sandbox.dispatch import Cloud
from deploy.sandbox.seeds import plant
from deploy.sandbox.server import HOST, Server
from deploy.sandbox.world import World


def build(port: int, settings: dict, seed: str) -> tuple[Server, dict[str, str]]:
    """A server that is ready to serve, and the environment with which clients reach it."""
    config = Config()
    config.update(settings)
    cloud = Cloud(World(config))
    control = Control(cloud, settings)
    server = Server(cloud, control, port)
    _warm()
    lay(cloud)
    plant(cloud, {"kind": seed})
    return server, demo.environment(f"http://{HOST}:{server.server_port}")


def _warm() -> None:
    """Load the models that the first requests would otherwise wait for."""
    for service, operation in (("ec2", "DescribeInstances"), ("sts", "AssumeRole"), ("kms", "DescribeKey")):
        wire.operation_model(service, operation)
    network.backend(demo.MANAGEMENT, demo.HOME)
    kms.backend(demo.MANAGEMENT, demo.HOME)
