import signal


def pytest_configure() -> None:
    """Handle SIGINT even if the shell started pytest with `&`, which makes processes ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
