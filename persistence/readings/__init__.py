"""Register readings: the file, its import, the partitions that they lie in, what billing takes of them."""
