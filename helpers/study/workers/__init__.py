"""Several trials at a time: the supervisor and its local and Ray workers."""
