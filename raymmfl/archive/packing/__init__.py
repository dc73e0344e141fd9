"""Packing: from a source to an archive, in shards, resumable."""
