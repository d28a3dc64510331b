"""The arithmetic of one step: explicit methods, the embedded pair, steps by height, schedules of heights."""
