"""Networks in Torch: modules and functions of tensors, one architecture a file."""
