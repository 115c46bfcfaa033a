"""Training of HiVA's two stages with Accelerate."""
