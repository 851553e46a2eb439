"""What a person can mend: printed without a traceback, exit status 2."""


class LoopscopeError(Exception):
    """Bad input or a state of the disk that needs a decision; the message says what to do."""
