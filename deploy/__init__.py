"""How Snapfleet is run: the emulated clouds, containers, units, roles, dashboards and runbooks."""
