"""An emulated AWS behind HTTP, for a first try and for tests; the product reaches it through AWS_ENDPOINT_URL alone.

moto 5.2.5 answers for networks, keys, roles and whatever is not named below. Block storage, snapshots, copies,
sharing, machine images, instances, sessions and tags are answered by the modules of this package, which follow the
AWS documents cited in them, so that a driver that breaks a rule of AWS fails here too.

    python -m deploy.sandbox serve --port 5600 --seed demo
"""
