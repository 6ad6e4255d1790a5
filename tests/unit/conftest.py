import gc


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collection, which saves 10 % of the run time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
