"""Something that works in the background: a line every five seconds."""

import itertools
import os
import time

for count in itertools.count(1):
    print(f"{os.environ['GREETING']}: line {count} of the worker with port {os.environ['PORT']}")
    time.sleep(5)
