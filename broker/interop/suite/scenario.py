"""The list of scenarios, and which clients can play them."""

from dataclasses import dataclass, field
from typing import Callable

# What each client can do. The Node.js client has neither one-way sends, batches, ordered consumption nor a pull call.
# The C++ client marks a batch in a way that RocketMQ's brokers do not read (`batch` is 1, not true): they, and we, store it
# as one message.
ABILITIES = {
    "cpp": {"sync", "async", "oneway", "push", "ordered", "pull"},
    "rust": {"sync", "async", "oneway", "batch", "push", "ordered", "pull", "admin", "request"},
    "node": {"sync", "push"},
}


@dataclass
class Scenario:
    name: str
    run: Callable
    needs: set
    # Whether it needs RingMQ: it starts servers itself, or speaks the native protocol too.
    ours: bool
    # Whether it looks at the machine's whole capacity and so runs alone.
    alone: bool
    clients: list = field(default_factory=list)


SCENARIOS = []


def scenario(*needs, ours=False, alone=False, clients=("cpp", "rust", "node")):
    """Declares a scenario `run(context, client)`, played with every client that has all abilities in `needs`."""

    def declare(run):
        able = [client for client in clients if set(needs) <= ABILITIES[client]]
        SCENARIOS.append(Scenario(run.__name__, run, set(needs), ours, alone, able))
        return run

    return declare


def reader(client):
    """Another client than the given one, to read what it wrote."""
    return "cpp" if client == "rust" else "rust"
