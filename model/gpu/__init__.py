"""Kernels for GPUs, in Triton, which PyTorch's builds for CUDA bring; nothing here is imported without a GPU."""
