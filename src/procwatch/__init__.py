"""procwatch: build on change, switch services only on success."""

__version__ = "0.1.0"
