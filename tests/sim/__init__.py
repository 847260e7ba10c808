"""A deterministic simulator: a whole fleet of production coordinators and workers in one thread and virtual time.

`make test` runs 300 small seeds, every mutant and the simulator's own tests; `make sim` a thousand larger seeds and
every mutant. What needs real processes, servers and sockets is `make chaos` (tests/scenario).
"""
