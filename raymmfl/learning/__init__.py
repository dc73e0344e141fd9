"""Local learning: batches, losses, one client's training."""
