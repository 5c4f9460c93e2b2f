"""One file for each command that reads a dataset or serves beside one."""
