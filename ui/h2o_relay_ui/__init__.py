"""The chat page: a frontend of the kernel, in a process of its own beside the API."""
