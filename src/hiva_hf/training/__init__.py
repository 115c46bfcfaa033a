"""Training of HiVA and VL-FAU: resumable, on one or many processes."""
