"""Networks of loopscope: looped transformers, their objectives, caches, exits and growth."""
