"""Decide what happens next: pure, no input or output."""
