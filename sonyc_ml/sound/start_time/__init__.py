"""When a recording begins: as its name says, or its metadata, or else its file's time."""

from sonyc_ml.sound.start_time.clock import named_zone
from sonyc_ml.sound.start_time.names import PATTERNS
from sonyc_ml.sound.start_time.times import StartTime, StartTimes

__all__ = ["PATTERNS", "StartTime", "StartTimes", "named_zone"]
