"""Code that is copied into exported folders. It imports nothing of this package."""
