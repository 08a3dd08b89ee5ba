"""Settings of all unit tests."""

from hypothesis import settings

# A busy machine makes an example slow, and not wrong.
settings.register_profile("hanas", deadline=None)
settings.load_profile("hanas")
