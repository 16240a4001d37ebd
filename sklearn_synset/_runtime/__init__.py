"""The machine: tensors, devices, processes, memory, and calls that are all or nothing."""
