"""The garbage collector of a process that answers people: what it started with stays, and is not looked through."""

import gc


def collect_seldom(new_objects: int) -> None:
    """Look for unreachable cycles each `new_objects`, and never again among what is there now; call once it is ready.

    At its default of 700 new objects the collector walks through thousands of sessions again and again: a third of a
    core, and tens of milliseconds in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(new_objects, 20, 100)
