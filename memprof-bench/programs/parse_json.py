"""Each unit is one JSON document, parsed and dropped; driven as workload.h says."""

import json
import os
import sys

DOCUMENT = json.dumps(
    [{"id": i, "name": "name %d" % i, "price": i * 0.37, "tags": ["a%d" % i, str(i)]} for i in range(50)]
)

print("ready", os.getpid(), flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        json.loads(DOCUMENT)
    print("done", flush=True)
