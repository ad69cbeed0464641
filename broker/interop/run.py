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
from suite.programs import TARGET, Clients, Programs, Unavailable, install_rust_servers
from suite.rocketmq import Apache, RocketMqRust
from suite.scenario import ABILITIES, READERS, SCENARIOS, Play
import suite.scenarios  # noqa: F401

SHARED_SHARDS = 2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help="parts of names of the scenarios to run; all without it")
    parser.add_argument("--client", action="append", choices=list(ABILITIES), help="only this client; may be repeated")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time (default: %(default)s)")
    parser.add_argument("--against", metavar="HOST:PORT", help="name server of a running cluster of another make; "
                        "scenarios that start or stop servers are left out")
    parser.add_argument("--rocketmq-rust", action="store_true", help="also share clusters with the servers of rocketmq-rust, "
                        "built from crates.io, once, which takes long")
    parser.add_argument("--apache", metavar="DIRECTORY", help="an unpacked Apache RocketMQ: its Java client plays the scenarios, "
                        "too, and clusters are shared with its servers; needs a JDK")
    parser.add_argument("--again", action="store_true", help="play what failed once more, alone: the clients have races of their own")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of scenarios that passed, too")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    parser.add_argument("--no-build", action="store_true", help="use RingMQ's programs as they are")
    return parser.parse_args()


class Suite:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.programs = Programs()
        self.clients = Clients(options.apache)
        self.wanted = options.client or [client for client in ABILITIES if client != "java" or options.apache]
        self.outcomes = {}
        self.skipped = 0

    def plays(self):
        """Everything that was asked for."""
        makes = self.makes()
        for scenario in SCENARIOS:
            if self.options.scenario and not any(part in scenario.name for part in self.options.scenario):
                continue
            if self.options.against and scenario.ours:
                continue
            for client in scenario.clients:
                if client in self.wanted:
                    yield from (Play(scenario, client, make) for make in (makes if scenario.mixed else [None]))

    def makes(self):
        makes = []
        if self.options.apache:
            makes.append(Apache(self.options.apache))
        if self.options.rocketmq_rust:
            makes.append(RocketMqRust(install_rust_servers()))
        return makes

    def install(self, plays):
        """Those of the plays whose clients can be had; the others are counted as skipped."""
        missing = set()
        for client in dict.fromkeys([*READERS, *self.wanted]):
            try:
                self.clients.install(client)
            except Unavailable as reason:
                missing.add(client)
                print(f"skipped: the {client} client: {reason}", flush=True)
        if missing.intersection(READERS):
            print("skipped: everything: that client is needed to read what the others write", flush=True)
            missing.update(ABILITIES)
        playable = [play for play in plays if play.client not in missing]
        self.skipped = len(plays) - len(playable)
        return playable

    def play(self, play, namesrv):
        started = time.monotonic()
        label = f"{play.scenario.name}-{play.client}{f'-{play.make.name}' if play.make else ''}"
        context = Context(self.programs, self.clients, self.directory, namesrv, label, play.make)
        try:
            play.scenario.run(context, play.client)
            outcome = None
        except check.Skipped as reason:
            self.skipped += 1
            context.tidy(everything=True)
            print(f"skipped: {play}: {reason}", flush=True)
            return
        except check.Failed as failure:
            outcome = str(failure)
        except Exception:
            outcome = traceback.format_exc()
        took = time.monotonic() - started
        print(f"{'FAILED' if outcome else 'ok'} {play} {took:.1f} s", flush=True)
        if outcome:
            print(f"   {outcome}\n   logs: {context.directory}", flush=True)
        if not self.options.keep:
            context.tidy(everything=not outcome)
        self.outcomes[play] = outcome

    def play_all(self, plays, namesrv):
        together = [play for play in plays if not play.scenario.alone]
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            list(pool.map(lambda play: self.play(play, namesrv), together))
        for play in plays:
            if play.scenario.alone:
                self.play(play, namesrv)
        for play in plays if self.options.again else []:
            if self.outcomes.get(play):
                print(f"again: {play}")
                self.play(play, namesrv)

    def failed(self):
        return [play for play, outcome in self.outcomes.items() if outcome]


def main():
    options = arguments()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name} [{', '.join(scenario.clients)}]{' with other servers' if scenario.mixed else ''}")
        return 0
    os.makedirs(TARGET, exist_ok=True)
    # On the target's file system: the broker needs one that knows O_DIRECT, which a temporary one may not.
    directory = tempfile.mkdtemp(prefix="run-", dir=TARGET)
    suite = Suite(options, directory)
    if not options.no_build:
        suite.programs.build()
    asked = list(suite.plays())
    plays = suite.install(asked)
    if plays and options.against:
        suite.play_all(plays, options.against)
    elif plays:
        with Cluster(suite.programs, os.path.join(directory, "shared")) as cluster:
            cluster.start("shared", SHARED_SHARDS)
            suite.play_all(plays, cluster.namesrv)
    failed = suite.failed()
    if not failed and not options.keep:
        shutil.rmtree(directory, ignore_errors=True)
    for play in failed:
        print(f"failed: {play}")
    print(f"interop: {len(suite.outcomes) - len(failed)} passed, {len(failed)} failed, {suite.skipped} skipped")
    return 1 if failed or not asked else 0


if __name__ == "__main__":
    sys.exit(main())
