"""CUDA: how kernels are compiled and launched, and those that several methods share."""
