"""From messages to a prompt, and from what a model completes to its answer.

For servers that only complete text: prompt types (`catalog`, `render`), chat templates
(`templates`), stop strings (`stops`) and trimming to the context (`fit`). Import from the modules:
the process that renders templates imports this package, too, and has to be quick.
"""
