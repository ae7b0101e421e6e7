"""What has happened before what on the pretended machine, by vector clocks, and the error where nobody has said so.

Everything put on a stream comes after what was put on it before, after the events it was told to wait for, and after
what the host had waited for by then. An array may be read where its last write comes before, and written where all
reads and writes do. The double computes at once, so a forgotten event gives the right numbers there; here it shows.
"""


class RaceError(RuntimeError):
    """On a GPU the two could run at the same time."""


class Clock(dict):
    """How much of each stream is known to have been done."""

    def learn(self, other):
        for stream, count in other.items():
            self[stream] = max(self.get(stream, 0), count)

    def knows(self, stamp):
        stream, count = stamp
        return self.get(stream, 0) >= count


class Order:
    def __init__(self, machine):
        self.machine = machine
        self.host, self.streams, self.blocking = Clock(), {}, set()

    def clock(self, stream):
        if stream.ptr == 0:
            key = ("default", self.machine.device)
        else:
            key = stream.ptr
            if not stream.is_non_blocking:
                self.blocking.add(key)
        return key, self.streams.setdefault(key, Clock())

    def now(self, stream):
        """The stamp of something put on a stream, and what it comes after."""
        key, clock = self.clock(stream)
        clock.learn(self.host)
        if isinstance(key, tuple):  # the default stream and those that are not non-blocking wait for each other
            for other in self.blocking:
                clock.learn(self.streams[other])
        elif key in self.blocking:
            for other, known in self.streams.items():
                if isinstance(other, tuple):
                    clock.learn(known)
        clock[key] = clock.get(key, 0) + 1
        return (key, clock[key]), clock

    def use(self, stream, reads, writes):
        """Put a kernel or a copy on a stream."""
        stamp, clock = self.now(stream)
        for memory in {id(m): m for m in (*reads, *writes)}.values():
            if memory.written is not None and not clock.knows(memory.written):
                raise RaceError(f"memory is used on stream {stamp[0]} that {memory.written[0]} may still be writing")
        for memory in writes:
            for reader in memory.read.items():
                if not clock.knows(reader):
                    raise RaceError(f"memory is written on stream {stamp[0]} that {reader[0]} may still be reading")
            memory.written, memory.read = stamp, {}
        for memory in reads:
            memory.read[stamp[0]] = stamp[1]
        return stamp
