"""The arithmetic of one step: explicit methods, embedded pairs, steps from height to height, schedules of heights."""
