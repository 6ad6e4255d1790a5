import gc


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look through it again and again is a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
