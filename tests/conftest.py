"""Property tests take as long as the machine needs, and keep no examples."""

from hypothesis import settings

settings.register_profile("relay", deadline=None, database=None)
settings.load_profile("relay")
