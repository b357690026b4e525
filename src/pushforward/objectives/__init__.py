"""Objectives: pure differentiable functions of tensors."""
