"""Smaller and faster models: pruning, factorization, quantization, distillation, measuring."""
