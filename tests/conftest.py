import signal


def pytest_configure() -> None:
    """Have Ctrl-C end what it is sent to also where a shell had it ignored, as it does with `&`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
