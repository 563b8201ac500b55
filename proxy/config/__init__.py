"""The configuration: YAML in, frozen settings out, every error with its line. Called by ``cli`` and ``app``."""
