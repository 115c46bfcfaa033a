"""Training of HiVA's two stages: resumable, over one or many processes."""
