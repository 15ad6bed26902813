"""Other stream processors on the plain fold; they run beside ours and are no dependency of it."""
