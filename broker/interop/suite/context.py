"""What a scenario is given."""

import glob
import itertools
import json
import os
import shutil
import subprocess

from . import check
from .agent import Agent
from .cluster import Cluster
from .rocketmq import RocketMq

numbers = itertools.count(1)


class Context:
    def __init__(self, programs, clients, directory, namesrv, label, make=None):
        self.programs = programs
        self.clients = clients
        self.namesrv = namesrv
        self.make = make
        self.label = f"{label}-{next(numbers)}".replace("_", "-")
        self.topic = f"topic-{self.label}"
        self.group = f"group-{self.label}"
        self.directory = os.path.join(directory, self.label)
        os.makedirs(self.directory)

    def agent(self, client, name="one", namesrv=None):
        return Agent(self.clients, client, f"{client}-{name}-{self.label}", namesrv or self.namesrv, self.directory)

    def cluster(self, settings=()):
        """A cluster for this scenario alone."""
        return Cluster(self.programs, os.path.join(self.directory, "cluster"), settings)

    def rocketmq(self):
        """Servers of RocketMQ itself, of the make that this is played with, for a cluster that RingMQ joins."""
        return RocketMq(self.make, os.path.join(self.directory, "rocketmq"), Cluster.NAME)

    def tidy(self, everything):
        """Removes what the scenario left: everything, or only what its servers stored, which is gigabytes, so that the logs remain."""
        if everything:
            shutil.rmtree(self.directory, ignore_errors=True)
        for pattern in ("data-*", "store-*"):
            for stored in glob.glob(os.path.join(self.directory, "*", pattern)):
                shutil.rmtree(stored, ignore_errors=True)

    def native(self, *arguments, namesrv=None, stdin=""):
        """What the command line, that is the native protocol, prints."""
        command = [self.programs.cli, *arguments, "--namesrv", namesrv or self.namesrv]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        check.equal(done.returncode, 0, f"{' '.join(command)}: {done.stderr[-800:]}")
        return done.stdout

    def native_messages(self, topic, namesrv=None):
        """Every message of a topic, read natively."""
        lines = self.native("consume", topic, "--from", "earliest", "-o", "json", namesrv=namesrv)
        return [json.loads(line) for line in lines.splitlines()]
