"""Studies as a whole: overhead, scale, faults, busy machines."""
