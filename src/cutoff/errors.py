"""The exceptions whose messages are meant for the person who runs the experiment."""


class CutoffError(Exception):
    """A foreseeable mistake or a missing thing.

    The message is one or two plain sentences: what is wrong, where, and what to do.
    The command line prints it without a traceback and exits with a non-zero status.
    """


class DeadlineReached(CutoffError):
    """``deadline_minutes`` have passed; what is done is kept, and a further run goes on."""
