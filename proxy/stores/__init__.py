"""Where answers are kept: in this process (memory.py), or on a server that several pods share (redis.py).

``shelves.py`` makes the stores that a configuration names, and imports only those: aiocache costs memory, redis more.
"""
