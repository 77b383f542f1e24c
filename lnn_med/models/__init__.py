"""Adaptive-depth 3D networks (LNN) and their parts; tensors in, tensors out, no files."""
