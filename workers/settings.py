"""Which drivers a worker has, and how the settings reach them."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module

from tasks.clock import Clock
from tasks.errors import Invalid
from tasks.settings import Settings
from tasks.telemetry import Counters, api_result
from workers.allowance import Allowance, patient
from workers.driver import Driver
from workers.seats import FleetSeats

DriverFactory = Callable[[Settings, Counters, Clock], Mapping[str, Driver]]
"""What SNAPFLEET_DRIVERS names as MODULE:FUNCTION: makes the drivers by type name, once for each process."""


def load_drivers(settings: Settings, counters: Counters, clock: Clock) -> Mapping[str, Driver]:
    """The drivers of this process. Raises Invalid when the setting `drivers` names nothing that can be called."""
    if not settings.drivers:
        return {**_aws(settings, counters, clock), **_azure(settings, counters, clock)}
    module, _, name = settings.drivers.partition(":")
    try:
        factory: DriverFactory = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise Invalid(
            f"The setting drivers names {settings.drivers!r}, which cannot be loaded ({type(error).__name__}).",
            advice="Write MODULE:FUNCTION.",
        ) from None
    return factory(settings, counters, clock)


def _aws(settings: Settings, counters: Counters, clock: Clock) -> Mapping[str, Driver]:
    from workers.aws import build_drivers
    from workers.aws.session import AwsSettings, Sessions
    from workers.pace import Pace

    host, _, port = settings.proxy.rpartition(":") if settings.proxy else ("", "", "")
    if settings.proxy and not (host and port.isdigit()):
        raise Invalid(f"The setting proxy is {settings.proxy!r}.", advice="Write HOST:PORT.")
    reach = AwsSettings(
        host, int(port or 0), settings.proxy_user, settings.proxy_password, connections=max(16, settings.threads)
    )

    allowance = Allowance(clock)

    def count(service: str, operation: str, account: str, region: str, code: str, seconds: float) -> None:
        counters.api_call(service, operation, code, seconds)
        if api_result(code) == "throttled":
            allowance.throttled(service, operation, account, region)

    floor = max(settings.poll_floor, timedelta(milliseconds=1))
    guard = timedelta(seconds=settings.guard_seconds)
    return build_drivers(Sessions(reach, count, allowance.take, patient), Pace(floor=floor, guard=guard, clock=clock))


def _azure(settings: Settings, counters: Counters, clock: Clock) -> Mapping[str, Driver]:
    from workers.azure import build_drivers
    from workers.azure.clients import AzureSettings, Subscriptions
    from workers.pace import Pace

    host, _, port = settings.proxy.rpartition(":") if settings.proxy else ("", "", "")
    reach = AzureSettings(
        cloud=settings.azure_cloud,
        endpoint=settings.azure_endpoint,
        authority=settings.azure_authority,
        ca=settings.azure_ca,
        blob_endpoint=settings.azure_blob_endpoint,
        proxy_address=host,
        proxy_port=int(port or 0),
        proxy_user=settings.proxy_user,
        proxy_password=settings.proxy_password,
        connections=max(32, settings.threads),
    )

    def count(service: str, operation: str, _: str, code: str, seconds: float) -> None:
        counters.api_call(service, operation, code, seconds)

    floor = max(settings.poll_floor, timedelta(milliseconds=1))
    guard = timedelta(seconds=settings.guard_seconds)
    subscriptions = Subscriptions(reach, count, Allowance(clock), FleetSeats(clock))
    return build_drivers(subscriptions, Pace(floor=floor, guard=guard, clock=clock))
