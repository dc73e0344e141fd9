"""Where clients run: one process, or Ray actors; the same bits either way."""
