"""The one error that is meant for people, and the one that says a task was asked to stop."""


class InputError(Exception):
    """Something is wrong with what the person gave us, and the person can mend it.

    The message is one sentence that names the file or value and the remedy; it is shown as it is,
    without a traceback. Anything else that is raised is a fault of the program.
    """


class Cancelled(Exception):
    """A task was asked to stop and did; what it had finished by then is kept."""
