"""Messages to send, and what to compare."""

import base64
import random


def message(body, **more):
    if isinstance(body, str):
        body = body.encode()
    return {"body": base64.b64encode(body).decode(), **more}


def numbered(count, prefix="message", **more):
    return [message(f"{prefix} {number}", **more) for number in range(count)]


def bodies(messages):
    return [base64.b64decode(message["body"]) for message in messages]


def noise(seed, count, size):
    """`count` bodies of 1 to `size` bytes. No zero byte: the C++ client's C interface hands bodies out as C strings."""
    source = random.Random(seed)
    for number in range(count):
        length = source.randint(1, size)
        yield b"%d:" % number + bytes(source.choices(range(1, 256), k=length))
