"""What a machine computes, and how fast: its examination by scripts/verify_device.py, from bare libraries."""
