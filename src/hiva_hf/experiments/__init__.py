"""Experiments on trained networks: evaluate a checkpoint, reproduce the paper's comparisons, and report them."""
