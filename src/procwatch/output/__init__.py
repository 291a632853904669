"""Bytes -> prefixed lines; events -> text or JSON."""
