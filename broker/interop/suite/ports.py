"""Ports that nobody uses."""

import random
import socket
import threading

# Below the ports that the kernel gives to outgoing connections, so that none of those takes a port of a broker that restarts.
FIRST, LAST = 21000, 31999

lock = threading.Lock()
# Where to look next. Suites that run side by side start at different places.
cursor = random.randrange(FIRST, LAST)


def free(wanted):
    """A base port for which all of `wanted(base)` are free: each was bound and let go, and is not given out again for long."""
    global cursor
    with lock:
        for _ in range(LAST - FIRST):
            ports = wanted(cursor)
            if max(ports) > LAST:
                cursor = FIRST + 2
                continue
            base = cursor
            if all(map(is_free, ports)):
                cursor = max(ports) + 3
                return base
            cursor += 1
    raise RuntimeError(f"no free ports between {FIRST} and {LAST}")


def is_free(port):
    with socket.socket() as probe:
        # Without SO_REUSEADDR: a port with connections that are still closing counts as taken.
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
