"""RabbitMQ for a fleet: three accounts with the least rights, and a limit for each lane's queue.

`python -m deploy.rabbitmq > definitions.local.json` writes the definitions with the environment's passwords, hashed.
"""
