"""Assertions and waiting. Nothing here sleeps and hopes: it waits for a condition, or says what did not happen."""

import time


class Failed(Exception):
    """What a scenario found wrong."""


class Skipped(Exception):
    """Why a scenario cannot be played here, for a reason that is not RingMQ's."""


def that(condition, what):
    if not condition:
        raise Failed(what)


def equal(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: found {shorten(found)}, expected {shorten(expected)}")


def shorten(value):
    text = repr(value)
    return text if len(text) < 600 else f"{text[:600]}… ({len(text)} characters)"


def until(condition, seconds, what):
    """The first true value of `condition()`; fails with `what` (text, or a function that describes the state) after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.05)
