"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# No test is about how fast this computer is, nor how busy.
settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")
