"""Measurements of loopscope: a trained model and its task to numbers."""
