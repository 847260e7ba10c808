"""The repository engine: block-incremental, deduplicated, compressed, encrypted archives in object storage.

A library that can be lifted out: it knows sources and sinks of blocks, stores of objects and keys; no catalog, no
queue, no cloud driver. FORMAT.md beside this file says what lies in a store, byte by byte, and which order of
writes keeps it whole. `python -m workers.repository` lists, verifies and restores when nothing else is left.

Words: a *repository* is a store's prefix with one master key. A *lineage* is one disk over time. A *generation* is
one state of it that can be restored. A *job* makes a generation; its *lease* is the right to do so, and setting the
lease to committed is the one moment at which the generation comes to be.
"""
