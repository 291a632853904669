"""The words of the answer. Change them here and save."""


def greeting(name: str) -> str:
    return f"Hello, {name}"
