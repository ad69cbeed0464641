#!/usr/bin/env python3
"""Runs RocketMQ clients that no one here wrote against RingMQ. `broker/interop/run.py --help`; README.md has more."""

import argparse
import concurrent.futures
import os
import shutil
import sys
import tempfile
import time
import traceback

from suite import check
from suite.cluster import Cluster
from suite.context import Context
from suite.programs import TARGET, Clients, Programs
from suite.scenario import ABILITIES, SCENARIOS
import suite.scenarios  # noqa: F401

SHARED_SHARDS = 2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help="parts of names of the scenarios to run; all without it")
    parser.add_argument("--client", action="append", choices=list(ABILITIES), help="only this client; may be repeated")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time (default: %(default)s)")
    parser.add_argument("--against", metavar="HOST:PORT", help="name server of a running cluster of another make; "
                        "scenarios that start or stop servers are left out")
    parser.add_argument("--again", action="store_true", help="play what failed once more, alone: the clients have races of their own")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of scenarios that passed, too")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    parser.add_argument("--no-build", action="store_true", help="use RingMQ's programs as they are")
    return parser.parse_args()


def chosen(options, clients):
    """(scenario, client) pairs to run."""
    for scenario in SCENARIOS:
        if options.scenario and not any(part in scenario.name for part in options.scenario):
            continue
        if options.against and scenario.ours:
            continue
        yield from ((scenario, client) for client in scenario.clients if client in clients)


class Suite:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.programs = Programs()
        self.clients = Clients()
        self.outcomes = {}

    def usable_clients(self):
        """Those asked for that can be installed; says which cannot."""
        usable = []
        # The Rust client reads what the others wrote.
        for client in ["rust", "cpp", "node"]:
            why_not = self.clients.install(client)
            if why_not:
                print(f"skipped: {client}: {why_not}")
            elif client in (self.options.client or ABILITIES):
                usable.append(client)
        return usable

    def play(self, scenario, client, namesrv):
        started = time.monotonic()
        context = Context(self.programs, self.clients, self.directory, namesrv, f"{scenario.name}-{client}")
        try:
            scenario.run(context, client)
            outcome = None
        except check.Failed as failure:
            outcome = str(failure)
        except Exception:
            outcome = traceback.format_exc()
        took = time.monotonic() - started
        print(f"{'FAILED' if outcome else 'ok'} {scenario.name} [{client}] {took:.1f} s", flush=True)
        if outcome:
            print(f"   {outcome}\n   logs: {context.directory}", flush=True)
        elif not self.options.keep:
            shutil.rmtree(context.directory, ignore_errors=True)
        self.outcomes[scenario.name, client] = outcome

    def play_all(self, pairs, namesrv):
        together = [pair for pair in pairs if not pair[0].alone]
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            list(pool.map(lambda pair: self.play(*pair, namesrv), together))
        for pair in pairs:
            if pair[0].alone:
                self.play(*pair, namesrv)
        for scenario, client in pairs if self.options.again else []:
            if self.outcomes[scenario.name, client]:
                print(f"again: {scenario.name} [{client}]")
                self.play(scenario, client, namesrv)


def main():
    options = arguments()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name} [{', '.join(scenario.clients)}]")
        return 0
    os.makedirs(TARGET, exist_ok=True)
    # On the target's file system: the broker needs one that knows O_DIRECT, which a temporary one may not.
    directory = tempfile.mkdtemp(prefix="run-", dir=TARGET)
    suite = Suite(options, directory)
    if not options.no_build:
        suite.programs.build()
    pairs = list(chosen(options, suite.usable_clients()))
    if options.against:
        suite.play_all(pairs, options.against)
    else:
        with Cluster(suite.programs, os.path.join(directory, "shared")) as cluster:
            cluster.start("shared", SHARED_SHARDS)
            suite.play_all(pairs, cluster.namesrv)
    failed = sum(1 for outcome in suite.outcomes.values() if outcome)
    if not failed and not options.keep:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"interop: {len(suite.outcomes) - failed} passed, {failed} failed")
    return 1 if failed or not suite.outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
