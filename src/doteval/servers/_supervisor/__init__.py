"""The supervisor: the process between a model server and all who use it; and its keeper.

Started as ``python -I -S _supervisor/__main__.py STARTER LOCK SOCKET_PATH``, in a session of its own, with two
inherited descriptors: the starter's socket, and its lock on the directory of the sockets. The lock is kept until its
own socket is there: whoever starts it may die at any moment and leaves no socket at which nobody listens. It uses
nothing but the standard library, one thread, and one loop. It

- makes the server the leader of a process group and, on Linux, itself the reaper of whatever the server leaves behind;
- drains the server's output into a bounded log that only its user can read, with secrets masked;
- stops the server when nobody is connected any more: TERM to all of it, again, a grace, KILL, until nothing is left.

Being connected is the whole protocol: the kernel closes the connections of whoever dies. A connection is a lease, a
hold (keep it warm) or neither (a visitor). The supervisor alone decides who gets a lease: nobody acts on a stale look.

Both directions speak a JSON object a line, and all that they say is in `messages`. The first line from the starter is
the job; then every client may ask, and each answer has the ``id`` of its question. What happens, everybody is told.
When a connection closes after that, nothing of the server is left and its slots are free: the supervisor holds their
locks by inheritance.

The parts; but for the loop, they know of nothing but the first five, the policy also of the lifetime, and all of them
are imported before the server starts, so that it does not matter to a supervisor when doteval is upgraded or removed::

    protocol    what both sides have to agree on
    messages    all that both sides say
    files       deletes a directory, and looks for others
    processes   who descends from whom
    parts       a part of a slot, beside those of others
    keeper      the process around the supervisor, for where that is killed
    bed         where the server may sleep
    place       what the server has in the runtime directory, also after somebody has deleted that
    log         what the server prints
    family      the server's processes
    clients     connections
    memory      whether the memory of the GPUs is free again
    signals     wakes the loop up
    lifetime    how long the server lives, and when it may be leased
    policy      who uses it, what is answered, what is to be done, and when: decides all of that, and does no I/O
    loop        does what the policy says is to be done
    __main__    makes a program of the directory
"""
