"""Several processes that serve as one (`h2o run --workers N`): how they tell each other what one of
them must know of the others.

One process, the coordinator, has the engines, looks at the servers and knows what is served; it
answers nobody but its workers (`leading.py`). Each worker has a kernel that follows it
(`following.py`). Between the two is a `Channel`.
"""
