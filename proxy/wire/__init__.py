"""The data plane: HTTP/1.1 on both sides over asyncio protocols. Composed by app.py."""
