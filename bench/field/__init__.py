"""The field of both plates: its speed and accuracy on every backend, beside what one would use instead."""
