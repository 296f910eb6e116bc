"""The pictures of the chat page that the documentation shows: `make screenshots`."""
