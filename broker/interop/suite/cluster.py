"""A cluster of RingMQ: name server and nodes, as processes with data directories and ports of their own."""

import os

from . import check, ports, remoting
from .processes import Process

PORT_STEP = 10


def shard_ports(base, shards):
    """The ports that a node's shards listen on: each its own, and the one two below it."""
    return [base + PORT_STEP * shard - below for shard in range(shards) for below in (0, 2)]


class Cluster:
    """Use as a context: everything that was started is ended at its end."""

    NAME = "interop"

    def __init__(self, programs, directory, settings=()):
        self.programs = programs
        self.directory = directory
        self.settings = settings
        self.nodes = {}
        self.shards = {}
        os.makedirs(directory, exist_ok=True)
        arguments = [programs.namesrv, "--listen", "127.0.0.1", "--port", "0"]
        self.name_server = Process("namesrv", arguments, directory)
        self.namesrv = self.name_server.first_line(30).split("namesrv=")[1].split()[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.kill()
        self.name_server.kill()

    def start(self, node, shards, namesrv=None):
        """Starts a node, or starts it again at the same ports."""
        if node not in self.shards:
            self.shards[node] = (shards, ports.free(lambda base: shard_ports(base, shards)))
        shards, base = self.shards[node]
        arguments = [self.programs.broker, "run", "--node", node, "--shards", str(shards), "--port", str(base)]
        arguments += ["--listen", "127.0.0.1", "--admin-port", "0", "--cluster", self.NAME]
        arguments += ["--data-dir", self.data(node), "--namesrv", namesrv or self.namesrv]
        for setting in ("storage.segment_bytes=67108864", "drain_ms=0", *self.settings):
            arguments += ["--set", setting]
        self.nodes[node] = check.until(lambda: self._run(node, arguments), 30, f"the ports of node {node} are free")
        # A name server that started a moment ago does not say of any topic that it does not exist.
        asked = namesrv or self.namesrv
        no_topic = lambda: remoting.call(asked, 105, {"topic": "there-is-no-such-topic"})[0] == 17
        check.until(no_topic, 60, "the name server knows its brokers")
        return self

    def _run(self, node, arguments):
        """The node's process once it serves; None while the kernel still holds the ports of one that was killed: it gives back
        what an io_uring used a moment after the process is gone."""
        process = Process(f"node-{node}", arguments, self.directory)
        try:
            line = process.first_line(60)
        except check.Failed:
            process.child.wait(10)
            if "Address already in use" in process.tail()[-300:]:
                return None
            raise
        check.that(line.startswith("ready "), f"node {node}: {line}")
        return process

    def data(self, node):
        return os.path.join(self.directory, f"data-{node}")

    def kill(self, node):
        self.nodes.pop(node).kill()

    def stop(self, node):
        self.nodes.pop(node).stop()

    def address(self, node, shard):
        return f"127.0.0.1:{self.shards[node][1] + PORT_STEP * shard}"

    def addresses(self):
        """Broker name to address of all shards of all nodes that were ever started."""
        return {
            f"s{shard:02}-{node}": self.address(node, shard)
            for node, (shards, _) in self.shards.items()
            for shard in range(shards)
        }
