"""The benchmark: the suite and its peers doing the same work, side by side, in one run.

Every peer has a process of its own, which is asked for one repeat after the other, in turn with all
others, so that whatever else the machine does falls on all of them alike. What counts is processor
time of one thread. Before anything is timed, both sides compute the same loss on the same noise.
"""
