"""The list of scenarios, and who can play them."""

from dataclasses import dataclass, field
from typing import Callable

# What each client can do. The Node.js client has neither one-way sends, batches, ordered consumption nor a pull call.
# The C++ client marks a batch in a way that RocketMQ's brokers do not read (`batch` is 1, not true): they, and we, store it
# as one message.
ABILITIES = {
    "rust": {"sync", "async", "oneway", "batch", "push", "ordered", "pull", "admin", "request"},
    "cpp": {"sync", "async", "oneway", "push", "ordered", "pull"},
    "node": {"sync", "push"},
    "java": {"sync", "async", "oneway", "batch", "push", "ordered", "pull", "admin", "request"},
}

# They read what the others wrote: without them nothing is played.
READERS = ("rust", "cpp")


@dataclass
class Scenario:
    name: str
    run: Callable
    needs: set
    # Whether it needs RingMQ: it starts servers itself, or speaks the native protocol too.
    ours: bool
    # Whether it looks at the machine's whole capacity and so runs alone.
    alone: bool
    # Whether it shares a cluster with servers of RocketMQ itself, and is played once with those of each make.
    mixed: bool
    clients: list = field(default_factory=list)


@dataclass(frozen=True)
class Play:
    """One scenario, played by one client, with servers of one other make or none."""

    scenario: Scenario
    client: str
    make: object = None

    def __str__(self):
        return f"{self.scenario.name} [{self.client}{f', {self.make.name}' if self.make else ''}]"

    def __hash__(self):
        return hash(str(self))


SCENARIOS = []


def scenario(*needs, ours=False, alone=False, mixed=False, clients=tuple(ABILITIES)):
    """Declares a scenario `run(context, client)`, played with every client that has all abilities in `needs`."""

    def declare(run):
        able = [client for client in clients if set(needs) <= ABILITIES[client]]
        SCENARIOS.append(Scenario(run.__name__, run, set(needs), ours or mixed, alone, mixed, able))
        return run

    return declare


def reader(client):
    """Another client than the given one, to read what it wrote."""
    return "cpp" if client == "rust" else "rust"
