"""Where a run's processes go: what each asks for, what there is, what may be started, and the wait for it."""
