"""Property tests draw the same examples every time and have no deadline, so that a slow machine changes no result."""

import hypothesis

hypothesis.settings.register_profile("stable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("stable")
