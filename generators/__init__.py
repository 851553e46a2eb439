"""Data of loopscope: hidden facts drawn from a seed, and tasks that ask about them."""
