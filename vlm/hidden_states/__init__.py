"""Hidden states of every layer: which vectors are taken, how they reach the host and the disk, and their moments."""
