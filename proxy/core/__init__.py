"""The rules of every policy, as synchronous code that takes time and chance as arguments.

Called by the shells in ``policies`` and by ``config`` (settings). Imports no clock, no chance, no I/O.
"""
