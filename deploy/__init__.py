"""How Snapfleet is run: the emulated clouds for a first try, the demonstration, monitoring, packages."""
