"""Networks in Torch: modules and functions of tensors, one architecture a file.

Each file has `build(*, bands, **sizes)`. It imports nothing of xstf but itself, and knows no cubes,
files, scaling or training: those are in `weights/` and `train/`.
"""
