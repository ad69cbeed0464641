"""Processes that the suite starts: their first line of output, their logs, their end."""

import os
import queue
import signal
import subprocess
import threading

from . import check


class Process:
    """A program whose standard output is read line by line and whose standard error goes to a file."""

    def __init__(self, name, arguments, directory, on_line=None, environment=None):
        self.name = name
        self.log = os.path.join(directory, f"{name}.log")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RINGMQ_")}
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory,
                env={**clean, **(environment or {})},
                text=True,
            )
        self.lines = queue.Queue()
        self.on_line = on_line or self.lines.put
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self.on_line(line.rstrip("\n"))
        self.on_line(None)

    def first_line(self, seconds):
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            line = None
        check.that(line is not None, f"{self.name} did not start: {self.tail()}")
        return line

    def write(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self, seconds=20):
        """Ends it politely, and by force if that takes too long."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self):
        with open(self.log, "rb") as log:
            return log.read()[-3000:].decode("utf-8", "replace")
