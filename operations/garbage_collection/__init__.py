"""How `registry garbage-collect` runs, and what its errors mean."""
