"""``python -m sonyc_ml``: the same as ``sonyc-ml``."""

import sys

from sonyc_ml.cli import main

sys.exit(main())
