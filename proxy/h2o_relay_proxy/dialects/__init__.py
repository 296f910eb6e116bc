"""Other APIs than OpenAI's chat completions, spoken over any server: Anthropic's Messages and
OpenAI's Responses.

A dialect reads a request into chat completion's terms and says the answer in its own; `serving.py`
does the rest. Where the server itself speaks the dialect, the request is forwarded instead.
"""
